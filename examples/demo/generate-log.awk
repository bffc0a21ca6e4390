# Prints `lines` lines of an access log that looks like real traffic: Combined format, a few busy
# hosts and pages and a long tail of others, the usual mix of status codes. Same seed, same log.

function pick(list, count,    at) {
    # Squaring a number below one leans on the front of the list.
    at = rand(); return list[1 + int(at * at * at * count)]
}

BEGIN {
    srand(seed)
    for (i = 1; i <= 2000; i++)
        hosts[i] = int(1 + rand() * 222) "." int(rand() * 256) "." int(rand() * 256) "." int(rand() * 256)
    split("/ /index.html /news/ /news/today.html /images/logo.png /style.css /search /login /robots.txt /feed.xml", front, " ")
    for (i = 1; i <= 400; i++)
        pages[i] = i <= 10 ? front[i] : "/articles/" int(rand() * 9000) (rand() < 0.3 ? "?page=" int(rand() * 20) : "") (rand() < 0.4 ? "/photo.jpg" : "")
    split("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36|Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:121.0) Gecko/20100101 Firefox/121.0|Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 Version/17.1 Mobile/15E148 Safari/604.1|Googlebot/2.1 (+http://www.google.com/bot.html)|curl/8.5.0|-", agents, "|")
    split("200 200 200 200 200 200 200 200 304 404 301 500", codes, " ")
    split("01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28", days, " ")
    for (i = 0; i < lines; i++) {
        second = int(i / 40)
        code = codes[1 + int(rand() * 12)]
        printf "%s - - [%s/Nov/2026:%02d:%02d:%02d +0000] \"GET %s HTTP/1.1\" %s %s \"%s\" \"%s\"\n",
            pick(hosts, 2000), days[1 + int(second / 86400) % 28], int(second / 3600) % 24,
            int(second / 60) % 60, second % 60, pick(pages, 400), code,
            code == 304 ? "-" : int(rand() * rand() * 90000),
            rand() < 0.5 ? "-" : "http://www.example.com" pick(pages, 400), pick(agents, 6)
    }
}

<?php
// How many users are online, and who is on a page: php online.php [PAGE] [SOCKET]
$page = $argv[1] ?? '/';
$path = $argv[2] ?? '/run/whosonline/control';
$peer = stream_socket_client("unix://$path", $code, $message, 5);
if (!$peer) {
    fwrite(STDERR, "online.php: $path: $message\n");
    exit(2);
}
stream_set_timeout($peer, 5);
fwrite($peer, "page $page 5\n");
$answer = json_decode(fgets($peer), true);
printf("%d online, %d on %s\n", $answer['online'], $answer['count'], $page);
foreach ($answer['users'] as $user) {
    printf("%6ds %s\n", $user['age'], $user['user']);
}

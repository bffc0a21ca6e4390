"""Opens a page in Debian's Chromium, headless: browser.py URL PROFILE EXPRESSION [PICTURES]

Waits until EXPRESSION is true in the page, prints the document, and with a directory for pictures
takes some of it: wide, narrow, and dark. Speaks the DevTools protocol over a pipe.
"""
import base64, json, os, subprocess, sys, time

url, profile, expression = sys.argv[1:4]
pictures = sys.argv[4] if len(sys.argv) > 4 else ''
to_read, to_write = os.pipe()
from_read, from_write = os.pipe()


def wire():
    # dup2 to the same number would leave the descriptor to be closed at exec.
    reading, writing = os.dup(to_read), os.dup(from_write)
    os.dup2(reading, 3)
    os.dup2(writing, 4)


command = ['chromium', '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage',
           '--no-first-run', '--disable-background-networking', '--hide-scrollbars',
           '--remote-debugging-pipe', '--user-data-dir=' + profile]
browser = subprocess.Popen(command, preexec_fn=wire, close_fds=False, stdout=subprocess.DEVNULL,
                           stderr=open(profile + '.log', 'w'))
os.close(to_read)
os.close(from_write)
answers, number, session = os.fdopen(from_read, 'rb'), 0, None


def read():
    message = b''
    while not message.endswith(b'\0'):
        byte = answers.read(1)
        if not byte:
            sys.exit('chromium has ended')
        message += byte
    return json.loads(message[:-1])


def call(method, **parameters):
    global number
    number += 1
    message = {'id': number, 'method': method, 'params': parameters}
    if session:
        message['sessionId'] = session
    os.write(to_write, json.dumps(message).encode() + b'\0')
    while True:
        answer = read()
        if answer.get('id') == number:
            if 'error' in answer:
                sys.exit(f'{method}: {answer["error"]}')
            return answer['result']


def evaluate(code):
    return call('Runtime.evaluate', expression=code, returnByValue=True)['result'].get('value')


target = call('Target.createTarget', url='about:blank')['targetId']
session = call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
call('Page.enable')
call('Page.navigate', url=url)
deadline = time.time() + 30
while not evaluate(expression):
    if time.time() > deadline:
        sys.exit('not in 30 s: ' + expression + '\n' + str(evaluate('document.documentElement.outerHTML')))
    time.sleep(0.1)
print(evaluate('document.documentElement.outerHTML'))
for name, width, scheme in (('wide', 1280, 'light'), ('narrow', 400, 'light'), ('dark', 1280, 'dark')):
    if pictures:
        call('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': scheme}])
        call('Emulation.setDeviceMetricsOverride', width=width, height=900, deviceScaleFactor=1, mobile=False)
        time.sleep(1.5)
        picture = call('Page.captureScreenshot', captureBeyondViewport=True)['data']
        with open(f'{pictures}/{name}.png', 'wb') as file:
            file.write(base64.b64decode(picture))
session = None
call('Browser.close')
browser.wait(20)

"""Opens logmon's page in Debian's Chromium, headless: browser.py URL PROFILE EXPRESSION [PICTURES]

Waits until EXPRESSION is true in the page, prints the document, and looks whether keys and screen
readers can use it, it fits on a narrow screen, is dark in the dark, and asks nobody else for
anything. With a directory for pictures takes some of it: wide, narrow, and dark. Speaks the
DevTools protocol over a pipe.
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
events = []


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
        if 'method' in answer:
            events.append((answer['method'], answer['params']))
        if answer.get('id') == number:
            if 'error' in answer:
                sys.exit(f'{method}: {answer["error"]}')
            return answer['result']


def evaluate(code):
    return call('Runtime.evaluate', expression=code, returnByValue=True)['result'].get('value')


def expect(holds, what):
    if not holds:
        sys.exit('not so: ' + what)


def until(code):
    deadline = time.time() + 60
    while not evaluate(code):
        if time.time() > deadline:
            sys.exit('not in its time: ' + code + '\n' + str(evaluate('document.documentElement.outerHTML')))
        time.sleep(0.1)


def press(key, text=''):
    for kind in ('keyDown', 'keyUp'):
        call('Input.dispatchKeyEvent', type=kind, key=key, code=key if not text else 'Space', text=text if kind == 'keyDown' else '',
             windowsVirtualKeyCode={'Tab': 9, ' ': 32}[key])


def named(role):
    """Names of all that a screen reader takes for this."""
    nodes = call('Accessibility.getFullAXTree')['nodes']
    of_role = [node for node in nodes if not node['ignored'] and node['role']['value'] == role]
    return [node.get('name', {}).get('value', '') for node in of_role]


def look(width, scheme):
    call('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': scheme}])
    call('Emulation.setDeviceMetricsOverride', width=width, height=900, deviceScaleFactor=1, mobile=False)


def contrast(selector):
    """How much lighter or darker a text is than the page, as WCAG counts it."""
    colours = evaluate(f"""['{selector}', 'body'].map((one, index) => getComputedStyle(document.querySelector(one))
        [index ? 'backgroundColor' : 'color'].match(/[0-9.]+/g).slice(0, 3).map(Number))""")
    def light(colour):
        linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return sum(c * part for c, part in zip(linear, (0.2126, 0.7152, 0.0722))) + 0.05
    pair = sorted(map(light, colours))
    return pair[1] / pair[0]


target = call('Target.createTarget', url='about:blank')['targetId']
session = call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
for domain in ('Page', 'Network', 'Log', 'Runtime', 'Accessibility'):
    call(domain + '.enable')
call('Page.navigate', url=url)
until(expression)
print(evaluate('document.documentElement.outerHTML'))

focused = 'document.activeElement.id'
press('Tab')
expect(evaluate(focused) == 'minutes', 'the first key goes to the choice of minutes')
press('Tab')
expect(evaluate(focused) == 'pause', 'the second to the pause')
press(' ', ' ')
expect(evaluate("document.activeElement.getAttribute('aria-pressed')") == 'true', 'a blank presses it')
until("document.getElementById('state').textContent.includes('paused')")
press(' ', ' ')
until("document.getElementById('state').textContent === 'live'")
for role, least in (('combobox', 1), ('button', 1), ('image', 2), ('table', 8), ('region', 8), ('heading', 9)):
    names = named(role)
    expect(len(names) >= least and all(names), f'a screen reader finds {least} of {role} with names: {names}')
print('ok: keys reach all that can be chosen, and screen readers find names')

for scheme in ('light', 'dark'):
    look(400, scheme)
    until('innerWidth === 400')
    width = evaluate('document.documentElement.scrollWidth')
    expect(width <= 400, f'it fits on 400 pixels: {width}')
    for selector in ('body', 'th', 'dt', '.none, #state'):
        expect(contrast(selector) >= 4.5, f'{selector} can be read, {scheme}: {contrast(selector):.1f}')
dark = evaluate("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).every((part) => part < 64)")
expect(dark, 'it is dark in the dark')
print('ok: it fits on a narrow screen, and can be read in light and dark')

for name, width, scheme in (('wide', 1280, 'light'), ('narrow', 400, 'light'), ('dark', 1280, 'dark')):
    if pictures:
        look(width, scheme)
        time.sleep(1.5)
        picture = call('Page.captureScreenshot', captureBeyondViewport=True)['data']
        with open(f'{pictures}/{name}.png', 'wb') as file:
            file.write(base64.b64decode(picture))

asked = [params['request']['url'] for method, params in events if method == 'Network.requestWillBeSent']
expect(len(asked) >= 4 and all(one.startswith((url, 'data:')) for one in asked), f'it asks its own host only: {asked}')
errors = [params for method, params in events if method == 'Log.entryAdded' and params['entry']['level'] == 'error'
          or method == 'Runtime.exceptionThrown']
expect(not errors, f'there are no errors: {errors}')
print(f'ok: {len(asked)} requests, all to its own host, and no error')
session = None
call('Browser.close')
browser.wait(20)

#!/usr/bin/env python3
"""How many users are online, and who is on a page: online.py [PAGE] [SOCKET]"""
import json
import socket
import sys

page = sys.argv[1] if len(sys.argv) > 1 else '/'
path = sys.argv[2] if len(sys.argv) > 2 else '/run/whosonline/control'
with socket.socket(socket.AF_UNIX) as peer:
    peer.settimeout(5)
    peer.connect(path)
    peer.sendall(f'page {page} 5\n'.encode())
    answer = json.loads(peer.makefile('rb').readline())
print(f'{answer["online"]} online, {answer["count"]} on {page}')
for user in answer['users']:
    print(f'{user["age"]:6}s {user["user"]}')

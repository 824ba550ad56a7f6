import json
import sys

from standardwebhooks import Webhook, WebhookVerificationError

given = json.load(sys.stdin)
hook = Webhook(given["secret"])
hook.verify(given["body"], given["headers"])
try:
    hook.verify(given["body"] + " ", given["headers"])
except WebhookVerificationError:
    print("verified, and refused when changed")

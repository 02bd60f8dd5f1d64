"""A model that ends its worker when it is asked to, by the code that the real handlers use; the test packs it."""

import os
import time

from handlers.worker_exit import exit_after_answer

LENGTH = 4_000_000
"""Characters of an answer: far more than a socket holds."""
CODE = 17


class Leaver:
    """Answers "stay 1" and "leave 1" with its pid in ten digits, and as many ones."""

    def initialize(self, context):
        pass

    def handle(self, data, context):
        calls = [bytes(each["body"]).decode() for each in data]
        if any(call.startswith("leave") for call in calls):
            exit_after_answer(CODE)
        time.sleep(0.005)  # TorchServe can lose an answer that comes within a millisecond
        return [f"{os.getpid():010d}{call[-1] * LENGTH}" for call in calls]

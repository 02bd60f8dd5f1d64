"""The model that registers the others, as a handler: it answers no sooner than an answer could be lost."""

from ts.context import Context, RequestProcessor

from handlers import autostart


def test_every_request_of_a_batch_is_answered_after_the_pause(monkeypatch):
    waited = []
    monkeypatch.setattr(autostart, "pause_until", waited.append)
    context = Context("autostart", "1.0", {}, 1, None, None)
    context._request_processor = [RequestProcessor({}) for _ in range(2)]
    answers = autostart.Autostart().handle([{}, {}], context)
    assert answers == [{"state": "waiting", "detail": ""}] * 2 and len(waited) == 1

"""What Prometheus is told: sessions, steps, latency, queues and errors, never what was said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from duologue.serve.session import ReplySound
from duologue.systems.engine import Engine

_STEP = (0.002, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.12, 0.2, 0.5)
_ANSWER = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0)
_WAIT = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.16, 0.32, 0.64)


class Metrics:
    """The counters of one server."""

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self.registry = CollectorRegistry()
        self.sessions = Gauge("duologue_sessions", "Open sessions", ["protocol"], registry=self.registry)
        self.opened = Counter("duologue_sessions_opened", "Sessions opened", ["protocol"], registry=self.registry)
        self.closed = Counter(
            "duologue_sessions_closed", "Sessions closed, by close code", ["code"], registry=self.registry
        )
        self.errors = Counter("duologue_errors", "Errors told to clients, by code", ["code"], registry=self.registry)
        self.refused = Counter("duologue_refused", "Connections refused, by reason", ["reason"], registry=self.registry)
        self.parked = Gauge("duologue_parked", "Conversations kept for a client that vanished", registry=self.registry)
        self.unsent = Gauge("duologue_unsent_bytes", "Bytes that wait for slow clients", registry=self.registry)
        self.first_audio = Histogram(
            "duologue_first_audio_seconds",
            "From the user's last sound to the reply's first",
            buckets=_ANSWER,
            registry=self.registry,
        )
        self.added = Histogram(
            "duologue_added_latency_seconds",
            "From a frame of the user being whole to its reply, beyond the model's step",
            buckets=_WAIT,
            registry=self.registry,
        )
        self.reply_steps = Histogram(
            "duologue_reply_step_seconds",
            "Seconds of a step, once for each reply that sounds in it",
            buckets=_STEP,
            registry=self.registry,
        )
        self.steps = Histogram(
            "duologue_step_seconds", "Seconds of a step", ["model"], buckets=_STEP, registry=self.registry
        )
        for name, engine in engines.items():
            engine.observe = self.steps.labels(name).observe
        self.registry.register(_Engines(engines))

    def measure(self, sound: ReplySound) -> None:
        """Count the time that a sound of a reply has taken."""
        if sound.step is not None:
            self.added.observe(sound.step.waited - sound.step.stepped)
            self.reply_steps.observe(sound.step.stepped)
        if sound.since is not None:
            self.first_audio.observe(sound.since)

    def text(self) -> bytes:
        """All of them in the format that Prometheus reads."""
        return generate_latest(self.registry)


class _Engines(Collector):
    """Reads the engines' own counters when it is asked."""

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._engines = engines

    def collect(self) -> Iterable[Metric]:
        yield from self._gauges()
        for field, help in (
            ("frames", "Frames stepped"),
            ("silences", "Frames of silence heard for late clients"),
            ("late", "Frames done later than one frame after they were due"),
            ("refused", "Frames dropped of clients that were too early"),
            ("failures", "Conversations that ended with an error"),
        ):
            counter = CounterMetricFamily(f"duologue_{field}", help, labels=["model"])
            for name, engine in self._engines.items():
                counter.add_metric([name], getattr(engine.statistics, field))
            yield counter

    def _gauges(self) -> Iterator[Metric]:
        for field, help in (
            ("capacity", "Slots"),
            ("taken", "Slots that hold a conversation"),
            ("waiting", "Frames that wait to be heard"),
            ("lateness", "Share of late frames among the last steps"),
        ):
            gauge = GaugeMetricFamily(f"duologue_engine_{field}", help, labels=["model"])
            for name, engine in self._engines.items():
                gauge.add_metric([name], getattr(engine, field))
            yield gauge

"""The BentoML service: `bentoml serve scoring.service:Fraud`, or `headrace serve`.

The one file that knows BentoML's server. Its defaults have a tail of 50 to 250 ms (a timer of 60 s for each request
keeps a minute of closures alive for the garbage collector to walk): the timeout is short, tracing and the access log
are off, and what is alive after warm-up is frozen out of the collector's sight.
"""

from __future__ import annotations

import gc
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import bentoml
import msgspec
from bentoml._internal.log import SERVER_LOGGING_CONFIG

from headrace.assembly import open_keys, open_scorer
from headrace.cards import open_guard
from headrace.doctor_log import KAFKA_READERS, READERS
from headrace.logs import take_over
from headrace.settings import Settings
from scoring.api import Answer, Api
from scoring.batch_door import Bounds
from scoring.dead_processes import forget_dead_processes
from scoring.examples import EXAMPLE, LABEL_EXAMPLE
from scoring.explanation import ExactExplainer
from scoring.feedback_metrics import FeedbackFeed
from scoring.front_door import Doors, ScoringService
from scoring.learner_metrics import LearnerFeed
from scoring.live_models import registry_of
from scoring.log_metrics import LogFeed
from scoring.observed_shared import SharedCounts, run_folder
from scoring.published import PublishedTogether, ReportFeed
from scoring.quality_metrics import QualityFeed
from scoring.recommender_metrics import RecommenderReportFeed
from scoring.schedule_metrics import ScheduleFeed
from scoring.skew_metrics import SkewFeed
from scoring.tally import Counts, merged
from scoring.telling import Telling
from scoring.typed_bodies import body_of
from scoring.use_case import FRAUD
from scoring.watch_metrics import WatchFeed
from stream.child import die_with_parent
from stream.records import Label, Transaction, decode

if TYPE_CHECKING:
    from headrace.assembly_pages import MountedPages
    from scoring.recommend_api import RecommendApi
    from scoring.traces import Traces

SETTINGS = Settings()
TIMEOUT_S = 1
"""BentoML's, of one request that passes the front door."""
TransactionBody = body_of(Transaction, EXAMPLE)
LabelBody = body_of(Label, LABEL_EXAMPLE)

take_over(SETTINGS.log_format, SETTINGS.log_level, SERVER_LOGGING_CONFIG, ("bentoml", "circus", "uvicorn.error"))


def start_traces() -> Traces | None:
    """What follows decisions, where there is somewhere to send what it finds."""
    if not SETTINGS.trace_endpoint:
        return None
    from scoring.traces import Traces

    traces = Traces(SETTINGS.trace_share, SETTINGS.trace_endpoint)
    traces.start()
    return traces


class Refused(bentoml.exceptions.BentoMLException):
    """A refusal on its way through BentoML, which wants an exception for any status but 200."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body.decode(), error_code=HTTPStatus(answer.status))


@bentoml.service(
    name="headrace_fraud",
    service_class=ScoringService,
    workers=SETTINGS.workers,
    traffic={"timeout": TIMEOUT_S},
    tracing={"excluded_urls": ".*"},
    logging={"access": {"enabled": False}},
    http={"host": SETTINGS.host, "port": SETTINGS.port or 3000},
    metrics={"enabled": True, "namespace": "bentoml"},
)
class Fraud(Doors):
    """Scores transactions, recommends items, takes events and labels."""

    body_limit = SETTINGS.body_limit
    batch_bounds = Bounds(SETTINGS.batch_limit, SETTINGS.batch_body_limit, SETTINGS.batch_deadline)
    front_door = SETTINGS.front_door
    processes = SETTINGS.workers
    keys = open_keys(SETTINGS)
    has_pages = SETTINGS.review_pages

    def __init__(self) -> None:
        die_with_parent()
        forget_dead_processes()
        self._scorer, self._feed = open_scorer(SETTINGS, FRAUD, serving=True)
        self._feed.start()
        if self.keys is not None:
            self.keys.start()
        explainer = ExactExplainer(FRAUD.name, FRAUD.features, registry_of(SETTINGS.home), self._scorer.models)
        scores = FRAUD.name in SETTINGS.use_cases
        self._api = Api(self._scorer, SETTINGS.clock_skew, SETTINGS.deadline, explainer, open_guard(SETTINGS), scores)
        self._recommend = self._open_recommending() if "recommendation" in SETTINGS.use_cases else None
        self._readings = self._feed.readings(self._api.observed, self._scorer)
        self._counts = SharedCounts(self._read_counts, run_folder())
        self._counts.start()
        groups = [reader.group for reader in (KAFKA_READERS if SETTINGS.kafka else READERS)]
        log = LogFeed(SETTINGS.redis, SETTINGS.partitions, SETTINGS.outbox_limit, groups)
        published = PublishedTogether(SETTINGS.redis)
        of_use_case = (SkewFeed, QualityFeed, WatchFeed, LearnerFeed, FeedbackFeed)
        reports: list[ReportFeed] = [kind(SETTINGS.redis, [FRAUD.name], published) for kind in of_use_case]
        reports.append(ScheduleFeed(SETTINGS.redis, published=published))
        if self._recommend is not None:
            reports.append(RecommenderReportFeed(SETTINGS.redis, published=published))
        self._telling = Telling(self._counts.whole, log, reports, published)
        self._api.observed.traces = start_traces()
        self._scorer.warm_up(decode(msgspec.json.encode(EXAMPLE), Transaction))
        if self._recommend is not None:
            self._recommend.recommending.warm_up()
        self._mounted = self._open_pages() if self.has_pages else None
        type(self).pages = self._mounted.pages if self._mounted is not None else None
        type(self).recommend = self._recommend
        type(self).telling = self._telling
        type(self).api = self._api
        # What lives now lives on: the collector need not walk it again within somebody's request.
        gc.collect()
        gc.freeze()

    def _open_recommending(self) -> RecommendApi:
        """Recommending on the scorer's connection: both are asked by the one thread that answers.

        Imported here: the process that starts the others reads this file too, and answers nothing.
        """
        from headrace.assembly_recommending import open_recommending
        from scoring.recommend_api import RecommendApi

        recommending, catalogue, self._recommend_feeds = open_recommending(SETTINGS, self._scorer.ledger)
        self._recommend_feeds.start()
        return RecommendApi(recommending, catalogue, SETTINGS.clock_skew, SETTINGS.deadline, open_guard(SETTINGS))

    def _open_pages(self) -> MountedPages:
        """The analysts' pages, over all that this process says at /metrics. Imported here, as recommending is."""
        from headrace.assembly_pages import MountedPages

        return MountedPages(SETTINGS, self._telling.some)

    def _read_counts(self) -> Counts:
        """What this process has counted, of all that it answers."""
        if self._recommend is None:
            return self._readings()
        feeds = self._recommend_feeds
        return merged([self._readings(), self._recommend.observed.counts(feeds.recommender.behind), feeds.counts()])

    @bentoml.api(route="/fraud/score")
    async def score(self, transaction: TransactionBody, /) -> dict[str, Any]:  # type: ignore[valid-type]
        """Score one transaction. The same event id again gives the same decision."""
        return self._answer("/fraud/score", transaction)

    @bentoml.api(route="/events")
    async def events(self, event: TransactionBody, /) -> dict[str, Any]:  # type: ignore[valid-type]
        """Take an event that needs no score: it is in the features when this returns."""
        return self._answer("/events", event)

    @bentoml.api(route="/labels")
    async def labels(self, label: LabelBody, /) -> dict[str, Any]:  # type: ignore[valid-type]
        """Take what an event turned out to be."""
        return self._answer("/labels", label)

    @bentoml.on_shutdown
    def close(self) -> None:
        """Record what still waits, stop the background thread."""
        type(self).api = type(self).recommend = type(self).telling = type(self).pages = None
        if self._mounted is not None:
            self._mounted.close()
        if self._recommend is not None:
            self._recommend_feeds.stop()
        self._feed.stop()
        if self.keys is not None:
            self.keys.stop()
        self._scorer.close()
        self._counts.stop()
        self._telling.close()
        if self._api.observed.traces is not None:
            self._api.observed.traces.stop()

    async def __is_ready__(self) -> bool:
        """BentoML's /readyz: ready once Redis has answered and a model and the rules are known; then whatever it does.

        Async, so that it runs between two requests: the scorer's connection serves one thread.
        """
        return not self._api.ready() and not (self._recommend and self._recommend.ready())

    async def __metrics__(self, content: str) -> str:
        """BentoML's /metrics: its own and ours, how late the log's readers are, and the newest reports."""
        return content + await self._telling.whole()

    def _answer(self, route: str, body: Any) -> dict[str, Any]:
        answer = self._api.post(route, body.model_dump_json(exclude_none=True).encode())
        if answer.status >= 400:
            raise Refused(answer)
        found: dict[str, Any] = msgspec.json.decode(answer.body)
        return found

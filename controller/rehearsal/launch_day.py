"""The launch day of the runbooks, from the day before to the first night."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from controller import readiness
from controller.launch import cohort, nightly, preflight
from controller.launch.drill import drill
from controller.launch.kill import kill
from controller.messages.board import Board, State
from controller.model import Announcement, CheckResult, News, Readiness
from controller.ports import PrState
from controller.rehearsal.on_day import OnDay
from controller.rehearsal.play import CHECKLIST, LAUNCH, OPERATOR, READY


def _all_ok(found: Readiness, *titles: str) -> bool:
    """Whether there is an item of each title, and it passed."""
    items = {item.title: item.ok for item in found.items}
    return all(items.get(title, False) for title in titles)


def _well(board: Board, *titles: str) -> bool:
    states = {row.title: row.state for row in board.rows}
    return all(states.get(title, State.ACT) in (State.OK, State.NOTHING) for title in titles)


KPIS = ("Time to value, p50", "Time to value, p90", "Mic grant", "Activation", "Error rate")


@dataclass
class LaunchDay(OnDay):
    """The day before, the launch, the first two hours and the first night."""

    box: ClassVar[str] = "- [ ]"

    def __post_init__(self) -> None:
        super().__post_init__()
        eve = LAUNCH - timedelta(days=1)
        self.agenda = [
            (eve + timedelta(hours=3), self._drill),
            (eve + timedelta(hours=4), self._blocked),
            (eve + timedelta(hours=5), self._ready_people),
            (READY, self._ready),
            (LAUNCH + timedelta(minutes=15), self._fifteen_minutes),
            (LAUNCH + timedelta(hours=1), self._one_hour),
            (LAUNCH + timedelta(hours=2), self._two_hours),
            (LAUNCH + timedelta(hours=17, minutes=17), self._night),
        ]

    def _operator(self) -> None:
        """The preflights are on the agenda."""

    def _heard(self, address: str, news: Announcement) -> str | None:
        super()._heard(address, news)
        text = news.text
        if news.kind is News.LAUNCH:
            self._tick(
                "KPIs: " in text and "Kill switch: " in text,
                "Announce in #launch with KPI link and killswitch location",
            )
            self._tick(
                f"Support lead: {OPERATOR}" in text,
                "Launch start",
                "2. Notify internal team: start time and support owner",
            )
            self._tick(
                self.apps["prod"].percent == 10, "Set `PILOT_ROLLOUT_PCT=0.10` and redeploy", "10 % rollout initiated"
            )
        if news.kind is News.OUTPUTS:
            self._tick(
                "5. " in text and "QA reviewer: Quinn" in text, "5. Collect first 5 outputs and send to QA reviewer"
            )
        if news.kind is News.STAGE and "20 %" in news.title:
            self._tick(
                self.apps["prod"].percent == 20,
                "If healthy, bump to 20 %",
                "1-hour health check completed, 20 % rollout if healthy",
            )
        return None

    # ------------------------------------------------------------ the day before

    def _drill(self) -> None:
        declared = self._declared("staging")
        glass = self._glass(declared)
        items: list[CheckResult] = []
        self._tell(f"{OPERATOR} runs pilot preflight --stack prod --drill")
        for item in drill(
            kill(glass, reason="drill of the kill switch", by=OPERATOR, now=self.now),
            lambda: self.reader.live.read(declared.service, declared.rollout.exposure, declared.region),
            lambda: glass.end(f"drill by {OPERATOR}"),
            now=lambda: self.now,
            wait=self._wait,
        ):
            items.append(item)
            self._tell(f"{item.title}: {item.words}")
        kept = Readiness(readiness.release(declared), self.now, OPERATOR, tuple(items))
        preflight.save(self.reader, readiness.drill_ref("staging"), kept, "drill(staging): the kill switch")
        self._up("staging", refresh=True)
        self._tick(not kept.failed, "Emergency killswitch: 0 % and redeploy")

    def _blocked(self) -> None:
        found = self._preflight()
        open_ = [item for item in found.failed if CHECKLIST in item.words]
        self._read("which names what is open:", [f"{item.title}: {item.words}" for item in found.failed])
        self._tick(len(open_) == 9, "1. Confirm green checks from the checklist file")

    def _ready_people(self) -> None:
        self._commit("Tick the launch checklist", (CHECKLIST, "- [ ]", "- [x]"))
        lines = cohort.change(self.git, self.forge, stack="prod", firm="firm-a", joins=True, by=OPERATOR)
        self._read(f"{OPERATOR} runs pilot cohort add --stack prod firm-a", lines)
        (pr,) = (pr for pr in self.forge.pull_requests("cohort/") if pr.state is PrState.OPEN)
        self._merge(pr, "prod")
        self._tick(cohort.listed(self.git, "prod") == ("firm-a",), "3. Enable pilot cohort")

    # ------------------------------------------------------------ the launch

    def _ready(self) -> None:
        found = self._preflight()
        self._read(
            "which found:", [f"{'ok  ' if item.ok else 'FAIL'}  {item.title}: {item.words}" for item in found.items]
        )
        self.thinking = True
        self._tick(_all_ok(found, "CI of the commit", "staging: deployment"),
                   "Merge green main → staging deploy", "Staging deployment successful")  # fmt: skip
        self._tick(_all_ok(found, "E2E smoke test"), "Run E2E smoke test")
        self._tick(_all_ok(found, *(f"staging: {title}" for title in KPIS[:3])),
                   "Sanity scan: TTV samples, mic grant ≥ 85 % on staging")  # fmt: skip
        self._tick(_all_ok(found, "staging: flags work"), "Verify feature flags work on staging")
        self._tick(_all_ok(found, "CI of the commit", "Checklist"), "All tests green (local + CI)",
                   "Team notified of launch window", "Team on standby for first hour",
                   "Daily monitoring schedule, weekly review meetings")  # fmt: skip
        self._tick(_all_ok(found, "Dashboard"), "Analytics dashboard accessible")
        self._tick(_all_ok(found, "Kill switch tried", "Checklist"), "Killswitch tested and documented")
        self._tick(_all_ok(found, "Channels"), "Communication channels open")
        self._tick(_all_ok(found, "Health"), "Health check")

    def _fifteen_minutes(self) -> None:
        board = self._watch()
        self._tick(board.state is not State.ACT, "Monitor for 15 minutes",
                   "Monitoring dashboards active")  # fmt: skip

    def _one_hour(self) -> None:
        board = self._watch()
        self._tick(_well(board, "Login failures"), "1. Login failures spike")
        self._tick(_well(board, "Upload failures"), "2. Upload failures")
        self._tick(
            _well(board, "Run failures", "Rule: run failures"),
            "3. Run failures",
            "2. Run failure rate > 5 % in first 10 packets",
        )
        self._tick(_well(board, "Citations missing/wrong"), "4. Missing/incorrect citations")
        self._tick(
            _well(board, "Rule: legal defect", "Rule: legal finding"),
            '5. Reviewer reports "fabricated" or "critical missing injury"',
        )
        self._tick(_well(board, "Rule: api errors"), "1. API errors > 2 % for 10+ minutes")
        self._tick(
            _well(board, *KPIS),
            "Check KPIs: TTV p50, p90, mic grant, activation",
            "TTV p50 ≤ 2 s, p90 ≤ 5 s; mic grant ≥ 85 %; activation ≥ 40 %",
            "TTV p90 > 8 s; mic grant < 80 %; activation < 35 %; error rate > 5 %",
            "4. Watch dashboard/alerts for first 60 minutes",
        )

    def _two_hours(self) -> None:
        self._tick(self._watch().state is not State.ACT, "Continue monitoring for next hour")

    def _night(self) -> None:
        done = nightly.nightly(
            self.reader, self.forge, self._notifier, stacks=("prod",), archive=self.folder / "archive", now=self.now
        )
        self._read("the workflow runs pilot nightly --stack prod --archive archive --tell", done.summary.splitlines())
        said = done.summary
        self._tick(
            done.exit_code == 0 and "## prod: 20 % of users" in said, "Review nightly root-config job + step summary"
        )
        self._tick("Events:" in said, "Export `/api/events?limit=200` snapshot")
        self._tick("nomalies" in said, "Check `/analytics` for anomalies")
        self._tick("all jobs are green" in said, "Verify CI/CD pipelines are green")
        self._tick("50 % if KPIs stable, from 2026-05-10" in said, "Week 1: 20 % → 50 %, week 2: 50 % → 100 %")

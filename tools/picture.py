"""Draw docs/aws.svg, what a stack is made of: `python -m tools.picture > docs/aws.svg`."""

from __future__ import annotations

from html import escape

_WIDTH, _HEIGHT = 920, 515
_LINE = 'stroke="#57606a" stroke-width="1.5" fill="none"'


def _box(x: int, y: int, w: int, h: int, title: str, *lines: str, fill: str = "#ffffff") -> str:
    """Return a box with a title and lines of text in it, its corner at (x, y)."""
    parts = [f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="6" fill="{fill}" stroke="#57606a"/>']
    parts.append(f'<text x="{x + 10}" y="{y + 20}" font-weight="bold">{escape(title)}</text>')
    for i, line in enumerate(lines):
        parts.append(f'<text x="{x + 10}" y="{y + 38 + 16 * i}">{escape(line)}</text>')
    return "\n".join(parts)


def _arrow(points: str, said: str = "", at: tuple[int, int] = (0, 0)) -> str:
    text = f'\n<text x="{at[0]}" y="{at[1]}" fill="#57606a">{escape(said)}</text>' if said else ""
    return f'<polyline points="{points}" {_LINE} marker-end="url(#head)"/>{text}'


def picture() -> str:
    """Return the whole SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif"'
        ' font-size="12" role="img">',
        "<title>What a stack of Pilot is made of in AWS</title>",
        '<defs><marker id="head" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#57606a"/></marker></defs>',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _box(230, 20, 400, 330, "VPC, two or three zones", fill="#f6f8fa"),
        _box(250, 60, 360, 90, "public subnets", fill="#eef6ff"),
        _box(250, 170, 360, 165, "private subnets", fill="#eefaf0"),
        _box(20, 60, 120, 50, "users", "HTTPS"),
        _box(265, 88, 190, 52, "load balancer", "weights, 7-day stickiness"),
        _box(485, 88, 115, 52, "NAT gateway", "one, or per zone"),
        _box(265, 200, 150, 56, "service, stable", "Fargate tasks"),
        _box(440, 200, 160, 56, "service, candidate", "exposure traffic only"),
        _box(265, 272, 335, 50, "controller: a pass every five minutes", "or in the forge's CI, by a role"),
        _box(670, 60, 230, 54, "S3", "access logs of the load balancer"),
        _box(
            670,
            130,
            230,
            86,
            "CloudWatch",
            "logs; alarms: 5xx, p90 latency,",
            "unhealthy targets, no traffic",
            "two roll a deployment back",
        ),
        _box(670, 232, 230, 38, "SNS topic, encrypted: people"),
        _box(
            670,
            286,
            230,
            70,
            "Systems Manager, parameters",
            "percent: last applied",
            "settings: polled by the app",
        ),
        _box(
            20,
            390,
            250,
            105,
            "Git: stack files and policy",
            "percent is one line",
            "the controller opens pull requests",
            "people merge",
            "rollback is git revert",
        ),
        _box(
            330,
            390,
            250,
            105,
            "CI, by OIDC",
            "preview role: only reads,",
            "  pull requests and the branch",
            "up role: branch and environment",
            "  pulumi preview, pulumi up",
        ),
        _box(
            640,
            390,
            260,
            105,
            "Pulumi program, infra/",
            "checks the stack file first",
            "declares all that is above",
            "writes the percent last",
        ),
        _arrow("140,85 200,85 200,114 265,114"),
        _arrow("390,140 390,200", "100 - percent", (298, 164)),
        _arrow("430,140 430,160 520,160 520,200", "percent", (528, 164)),
        _arrow("400,88 400,48 650,48 650,87 670,87"),
        _arrow("610,228 640,228 640,175 670,175"),
        _arrow("785,216 785,232"),
        _arrow("600,300 650,300 650,320 670,320"),
        _arrow("265,300 145,300 145,390", "pull request", (150, 340)),
        _arrow("270,442 330,442", "merge", (282, 435)),
        _arrow("580,442 640,442", "up", (602, 435)),
        _arrow("785,390 785,356", "percent", (793, 377)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    print(picture(), end="")

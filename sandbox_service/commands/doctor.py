"""`sandbox-service doctor`: is this machine fit to run sandboxes, and what would make it fitter?"""

import argparse
import json
from dataclasses import asdict

from sandbox_service.commands.keys import Commands
from sandbox_service.doctor.advice import Finding, findings
from sandbox_service.doctor.machine import gather
from sandbox_service.settings import load_settings


def add_doctor(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add `doctor`."""
    doctor = commands.add_parser("doctor", help="check this machine; exit status 1 if it is unfit")
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    found = findings(gather(load_settings()))
    if options.json:
        print(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        print("\n".join(map(_line, found)))
        print(_verdict(found))
    return int(any(finding.level == "fail" for finding in found))


def _line(finding: Finding) -> str:
    head = f"{finding.level:5} {finding.name}: {finding.says}"
    return f"{head}\n      -> {finding.mend}" if finding.mend else head


def _verdict(found: list[Finding]) -> str:
    failed = sum(finding.level == "fail" for finding in found)
    weak = sum(finding.level == "weak" for finding in found)
    if failed:
        return f"\nUnfit: {failed} to mend first, {weak} weak."
    return f"\nFit to serve; {weak} weak." if weak else "\nFit to serve."

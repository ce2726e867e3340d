"""Ask pip-audit for known flaws of the locked versions: make audit.

Exit status: 0 without one, 1 with flaws, 2 with one sentence where it could not ask about every package.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

LOCKED = Path(__file__).parent / "locked.txt"
MEND = "nothing is known of these until it is run where PyPI's advisories can be reached"


def main(pip_audit: str) -> int:
    command = [pip_audit, "--requirement", str(LOCKED), "--require-hashes", "--disable-pip", "--format", "json"]
    done = subprocess.run([*command, "--progress-spinner", "off"], capture_output=True, text=True)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        why = (done.stderr.strip().splitlines() or [f"it ends with {done.returncode}"])[-1]
        return told(f"pip-audit could not ask about the packages of {LOCKED.name} ({why})")
    flaws = [(package, flaw) for package in packages for flaw in package.get("vulns", ())]
    for package, flaw in flaws:
        mend = ", ".join(flaw["fix_versions"]) or "no version yet"
        print(f"{package['name']} {package['version']}: {flaw['id']}, mended in {mend}")
    missing = [package["name"] for package in packages if "skip_reason" in package]
    if missing:
        some = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        return told(f"pip-audit could not ask about {len(missing)} of the {len(packages)} packages ({some})")
    print(f"{len(packages)} packages, {len(flaws)} known flaws")
    return int(bool(flaws))


def told(what: str) -> int:
    print(f"error: {what}: {MEND}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

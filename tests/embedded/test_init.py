import subprocess
import sys
from pathlib import Path

import embedded

ROOT = Path(embedded.__file__).parent.parent


def which_dassl(tmp_path: Path, *installed: Path) -> str:
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]; import embedded, embedded as again\n"
        "import dassl; print(dassl.__file__, sys.path.count(sys.path[-1]), embedded.__path__[0] == sys.path[-1])"
    )
    arguments = [sys.executable, "-c", code, str(ROOT), *map(str, installed)]
    return subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()


def test_without_another_dassl_the_embedded_one_is_found(tmp_path):
    assert which_dassl(tmp_path) == f"{ROOT / 'embedded/dassl/__init__.py'} 1 True"


def test_an_installed_dassl_wins(tmp_path):
    installed = tmp_path / "site" / "dassl"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert which_dassl(tmp_path, installed.parent) == f"{installed / '__init__.py'} 1 True"

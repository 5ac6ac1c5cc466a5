#!/usr/bin/env bash
# Installs gptforge into a virtual environment, in three steps that an image can keep as three layers.
#
#   bash install.sh torch|packages|gptforge      in a folder that holds the files that the step reads (below)
#
#   VENV          where to
#   TORCH         cpu, cuda (the build that pip brings on Linux), or one version of CUDA: cu126, cu130 ...
#   TORCH_INDEX   take torch from this package index instead, such as a mirror; pip's settings (PIP_*) hold for the rest
#   EXTRAS        extras of pyproject.toml, with spaces between
#
# Knows pip and the pins in constraints.txt; not what the image is, nor who will use it.
set -euo pipefail

VENV=${VENV:-/opt/gptforge}
TORCH=${TORCH:-cpu}
INDEX=${INDEX:-}
TORCH_INDEX=${TORCH_INDEX:-}
EXTRAS=${EXTRAS:-bpe files clean}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

pip_of() { # pip_of ENVIRONMENT WORDS...: pip install, with the pinned versions
    local environment=$1
    shift
    "$environment/bin/python" -m pip install --disable-pip-version-check --constraint constraints.txt \
        ${INDEX:+"--index-url=$INDEX"} "$@"
}

tools() { # tools PACKAGE: an environment for what the image does not keep
    python3 -m venv "$scratch/tools"
    pip_of "$scratch/tools" --quiet "$1"
}

install_torch() { # reads constraints.txt
    case $TORCH in
        cpu | cuda | cu[0-9]*) ;;
        *)
            echo "TORCH=$TORCH is none of: cpu, cuda, or a version of CUDA such as cu130" >&2
            exit 2
            ;;
    esac
    python3 -m venv "$VENV"
    # Only torch itself is taken from elsewhere: what it needs comes from where the rest does, in pinned versions.
    if [ -n "$TORCH_INDEX" ]; then
        pip_of "$VENV" --no-deps "--index-url=$TORCH_INDEX" torch
    elif [ "$TORCH" != cuda ]; then
        tools uv # knows where the builds of torch are, which pip would have to be told
        UV_LINK_MODE=copy "$scratch/tools/bin/uv" pip install --python "$VENV/bin/python" \
            --constraint constraints.txt --no-deps --torch-backend "$TORCH" torch
    fi
    pip_of "$VENV" torch
    check_torch
}

check_torch() { # the build that was asked for, not the one that happened to be there
    local cuda
    cuda=$("$VENV/bin/python" -W ignore -c 'import torch; print(torch.version.cuda or "")')
    if [ "$TORCH" = cpu ] && [ -n "$cuda" ]; then
        echo "TORCH=cpu, but torch came with CUDA $cuda: give the index of a CPU build, TORCH_INDEX=ADDRESS" >&2
        exit 3
    fi
    if [ "$TORCH" != cpu ] && [ -z "$cuda" ]; then
        echo "TORCH=$TORCH, but torch came without CUDA: give the index of such a build, TORCH_INDEX=ADDRESS" >&2
        exit 3
    fi
}

install_packages() { # reads constraints.txt, pyproject.toml
    "$VENV/bin/python" - "$EXTRAS" > "$scratch/packages.txt" <<'PYTHON'
import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
groups = [project["optional-dependencies"][extra] for extra in sys.argv[1].split()]
print("\n".join(package for group in [project["dependencies"], *groups] for package in group))
PYTHON
    pip_of "$VENV" --requirement "$scratch/packages.txt"
}

install_gptforge() { # reads what the wheel is made of
    tools hatchling # in its pinned version, as pip's own build environment would not be
    "$scratch/tools/bin/python" -m hatchling build -t wheel -d "$scratch/wheel"
    pip_of "$VENV" --no-deps "$scratch"/wheel/*.whl
    "$VENV/bin/python" -m pip check
    "$VENV/bin/gptforge" --version
}

case ${1:-} in
    torch | packages | gptforge) "install_$1" ;;
    *)
        echo "usage: bash install.sh torch|packages|gptforge" >&2
        exit 2
        ;;
esac

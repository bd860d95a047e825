#!/bin/sh
# Installs the six programs, their manual pages and completions below a folder:
#
#   scripts/install.sh [PREFIX]      PREFIX/bin, PREFIX/share; without one the programs alone, where cargo installs
#
# Needs target/release (make build), or FT_BIN.
set -eu

bin=${FT_BIN:-target/release}
programs='ft-prep ft-template ft-train ft-merge ft-eval ft-bench'
say() { printf 'install: %s\n' "$*" >&2; }

if [ -n "${1:-}" ]; then
    to=$1/bin
    share=$1/share
else
    to=${CARGO_INSTALL_ROOT:-${CARGO_HOME:-$HOME/.cargo}}/bin
    share=
fi

mkdir -p "$to"
for program in $programs; do
    # Stripped beside its name and renamed: a program that runs meanwhile keeps its file.
    install -m 755 "$bin/$program" "$to/.$program.new"
    ! command -v strip >/dev/null 2>&1 || strip "$to/.$program.new"
    mv -f "$to/.$program.new" "$to/$program"
done

if [ -n "$share" ]; then
    bash=$share/bash-completion/completions
    zsh=$share/zsh/site-functions
    fish=$share/fish/vendor_completions.d
    mkdir -p "$bash" "$zsh" "$fish" "$share/man/man1"
    for program in $programs; do
        "$to/$program" --completions bash >"$bash/$program"
        "$to/$program" --completions zsh >"$zsh/_$program"
        "$to/$program" --completions fish >"$fish/$program.fish"
        "$to/$program" --man-pages "$share/man/man1"
    done
fi

say "$("$to/ft-train" --version), and five more, in $to"
case ":$PATH:" in
*":$to:"*) ;;
*) say "not on your PATH yet: export PATH=\"$to:\$PATH\"" ;;
esac

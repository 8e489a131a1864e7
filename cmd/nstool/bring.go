package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/nstool/nstool/internal/many"
)

// bring is run on a host by sh, as root. Its words are the version, the machine, the number of
// bytes and the hash of the program. It writes the program into a directory that it has made, of a
// name that nobody knows before, below one that only root can write. It removes that when its input
// ends: with the caller, however that ends, and with the connection.
const bring = `want=$1 machine=$2 size=$3 hash=$4; fail() { echo "$*"; exit 1; }; ` +
	`case $(nstool version 2>/dev/null </dev/null) in "nstool $want "*) echo have; exit;; esac; ` +
	`[ "$(id -u)" = 0 ] || fail "--bring needs root there: root@HOST, or --sudo"; ` +
	`m=$(uname -m); [ "$m" = "$machine" ] || fail "the machine is $m, and this nstool is for $machine: install nstool $want for $m there"; ` +
	`umask 077; d=; trap '[ -z "$d" ] || rm -rf "$d"' EXIT; trap 'exit 1' HUP INT TERM PIPE; ` +
	`for p in /run /root; do set -- $(ls -ldn $p/); case $1:$3 in d????-??-*:0) ;; *) continue;; esac; d=$(mktemp -d $p/nstool-XXXXXXXXXXXX 2>/dev/null) || { d=; continue; }; ` +
	`printf '#!/bin/sh\n' >$d/nstool; chmod 700 $d/nstool; $d/nstool 2>/dev/null </dev/null && break; rm -rf $d; d=; done; ` +
	`[ -n "$d" ] || fail "no program can be put into /run or /root there: install nstool $want"; ` +
	`echo send; head -c $size >$d/nstool; ` +
	`[ "$(sha256sum <$d/nstool)" = "$hash  -" ] || fail "what arrived of nstool is not what was sent"; ` +
	`echo $d/nstool; cat >/dev/null`

// carried returns the path of the nstool to run on a host: "" for its own, with --bring only if that
// is of this version. release removes what was brought.
func (h *hosts) carried(ctx context.Context, host string, stderr io.Writer) (path string, release func(), err error) {
	if !h.bring {
		return "", func() {}, nil
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", nil, err
	}
	defer self.Close()
	info, err := self.Stat()
	if err != nil {
		return "", nil, err
	}
	// Package crypto/sha256 would make the program 200 kB larger.
	sum := exec.CommandContext(ctx, "sha256sum")
	sum.Stdin = self
	hash, err := sum.Output()
	if err != nil {
		return "", nil, fmt.Errorf("sha256sum: %w", err)
	}
	machine := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	words := []string{versionWord(), machine, strconv.FormatInt(info.Size(), 10), string(hash[:min(64, len(hash))])}
	cmd := h.ssh(ctx, host, []string{"-T"}, bring, words...)
	if h.sudo {
		cmd = h.ssh(ctx, host, []string{"-T"}, `exec sudo -n sh -c "$@"`, append([]string{bring, "nstool"}, words...)...)
	}
	cmd.Stderr = stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	release = func() {
		in.Close() // the host removes it now
		timer := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
		_ = cmd.Wait()
	}
	says := bufio.NewReader(io.LimitReader(out, 4096))
	line, err := says.ReadString('\n')
	if line == "send\n" {
		_, _ = self.Seek(0, io.SeekStart)
		_, _ = io.CopyN(in, self, info.Size()) // the host says what it has got
		line, err = says.ReadString('\n')
	}
	line = strings.TrimSuffix(line, "\n")
	switch {
	case err == nil && line == "have":
		release()
		return "", func() {}, nil
	case err == nil && isBrought(line):
		return line, release, nil
	case line != "":
		err = errors.New(line)
	default:
		err = many.ErrSilent
	}
	release()
	return "", nil, err
}

// isBrought reports whether a path is one that bring makes.
func isBrought(path string) bool {
	dir, file := filepath.Split(path)
	parent, name := filepath.Split(strings.TrimSuffix(dir, "/"))
	return (parent == "/run/" || parent == "/root/") && strings.HasPrefix(name, "nstool-") && file == "nstool"
}

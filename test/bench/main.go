// Command bench prints the time and the memory that nstool takes, beside those of the
// program that people use for the same today, and how its time grows.
//
//	go run ./test/bench [-sizes 1000,5000,20000] [-runs 9] [-only WORD]
//
// It needs root, gcc, lsns and nsenter. It is for people to read: neither it nor any
// test fails because something is slow. Add new measurements to items or growths below.
package main

import (
	"bufio"
	_ "embed"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// An item is one row: a command of nstool beside that of its peer. Each is in a shell's
// words, where $nstool is the program, $pid a process in namespaces of its own, and
// $empty a program in Go that does nothing.
type item struct {
	name         string
	nstool, peer string
	populated    bool // measured in each population too, and not only on the idle host
}

var items = []item{
	{"ls", "$nstool ls", "lsns", true},
	{"ls --json", "$nstool ls --json", "lsns -J", true},
	{"ls -t net", "$nstool ls -t net", "lsns -t net", true},
	{"ls -p PID", "$nstool ls -p $pid", "lsns -p $pid", false},
	{"version", "$nstool version", "lsns --version", false},
	{"version, empty in Go", "$nstool version", "$empty", false},
	{"enter, net", "$nstool enter -p $pid --net true", "nsenter -t $pid -n true", false},
	{"enter, net uts ipc", "$nstool enter -p $pid --net --uts --ipc true", "nsenter -t $pid -n -u -i true", false},
	{"enter, PID", "$nstool enter -p $pid --pid true", "nsenter -t $pid -p true", false},
	{"enter, user", "$nstool enter -p $pid --user true", "nsenter -t $pid -U --preserve-credentials true", false},
	{"enter, all", "$nstool enter -p $pid true", "nsenter -t $pid -a true", false},
	{"run, net", "$nstool run --net true", "unshare -n true", false},
	{"run, user", "$nstool run --map-root true", "unshare -Ur true", false},
	{"run, all but user", "$nstool run -muinCT --pid --mount-proc true", "unshare -muinpCT -f --mount-proc true", false},
	{"run, all", "$nstool run --all --map-root true", "unshare -muinpCTUr -f --mount-proc true", false},
	{"pin add, rm", `sh -c "$nstool pin add bench -p $pid --net && $nstool pin rm bench"`, `sh -c "ip netns attach bench $pid && ip netns delete bench"`, false},
}

// A growth is how the time of `nstool ls` grows with one thing: the populations differ
// only in that.
type growth struct {
	thing       string
	count       func(population) int
	populations []population
}

// A population is what c/population.c makes.
type population struct{ processes, groups, threads, descriptors int }

var growths = []growth{
	{"process", func(c population) int { return c.processes }, []population{{1000, 10, 0, 0}, {5000, 10, 0, 0}, {20000, 10, 0, 0}}},
	{"namespace", func(c population) int { return 4 * c.groups }, []population{{2000, 20, 0, 0}, {2000, 200, 0, 0}, {2000, 2000, 0, 0}}},
	{"thread", func(c population) int { return c.processes * c.threads }, []population{{500, 10, 2, 0}, {500, 10, 10, 0}, {500, 10, 30, 0}}},
	{"descriptor", func(c population) int { return c.processes * c.descriptors }, []population{{500, 10, 0, 10}, {500, 10, 0, 100}, {500, 10, 0, 400}}},
}

func main() {
	sizes := flag.String("sizes", "1000,5000,20000", "processes in a population; a tenth as many groups of namespaces")
	runs := flag.Int("runs", 9, "runs of each command, fewer of slow ones")
	only := flag.String("only", "", "rows whose name has this word")
	flag.Parse()
	if err := run(*sizes, *runs, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

//go:embed c/population.c
var populationSource string

//go:embed c/measure.c
var measureSource string

var sources = map[string]string{"population": populationSource, "measure": measureSource}

// A bench has what was built for it.
type bench struct {
	dir  string // programs: nstool, population, measure
	runs int
	only string
	out  io.Writer
}

func run(sizes string, runs int, only string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("it takes root")
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted // a population ends with us
		os.RemoveAll(dir)
		os.Exit(1)
	}()
	b := &bench{dir: dir, runs: runs, only: only, out: os.Stdout}
	if err := b.build(); err != nil {
		return err
	}
	fmt.Fprintf(b.out, "%-24s %12s %12s %7s %12s %12s\n", "", "nstool ms", "peer ms", "ratio", "nstool KiB", "peer KiB")
	if err := b.idle(); err != nil {
		return err
	}
	if err := b.forward(); err != nil {
		return err
	}
	if err := b.protect(); err != nil {
		return err
	}
	if err := b.network(); err != nil {
		return err
	}
	for word := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(word)
		if err != nil {
			return err
		}
		if err := b.populated(population{processes: n, groups: max(1, n/10)}); err != nil {
			return err
		}
	}
	return b.growth()
}

// build builds nstool as it is released, and the two programs in C.
func (b *bench) build() error {
	empty := filepath.Join(b.dir, "empty.go") // a program that does nothing
	if err := os.WriteFile(empty, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		return err
	}
	for name, args := range map[string][]string{
		"empty":      {"go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(b.dir, "empty"), empty},
		"nstool":     {"go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(b.dir, "nstool"), "github.com/nstool/nstool/cmd/nstool"},
		"population": {"gcc", "-O1", "-Wall", "-pthread", "-static", "-x", "c", "-o", filepath.Join(b.dir, "population"), "-"},
		"measure":    {"gcc", "-O1", "-Wall", "-static", "-x", "c", "-o", filepath.Join(b.dir, "measure"), "-"},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if source, ok := sources[name]; ok {
			cmd.Stdin = strings.NewReader(source)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s", name, err, out)
		}
	}
	return nil
}

// idle measures on the host as it is, with one process to look at.
func (b *bench) idle() error {
	target := exec.Command("unshare", "--user", "--map-root-user", "--net", "--uts", "--ipc", "--mount", "--pid", "--cgroup", "--fork", "--kill-child", "--mount-proc", "sh", "-c", "echo up && exec cat")
	_, end, err := stay(target)
	if err != nil {
		return err
	}
	defer end()
	pid, err := childOf(target)
	if err != nil {
		return err
	}
	fmt.Fprintln(b.out, "as it is")
	for _, it := range items {
		if _, err := b.beside(it, pid); err != nil {
			return err
		}
	}
	return nil
}

// stay starts a program that writes a line when it is ready, and runs until its
// standard input ends: the function that is returned ends it.
func stay(cmd *exec.Cmd) (line string, end func(), err error) {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	end = func() {
		stdin.Close()
		cmd.Wait()
	}
	line, err = bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		end()
		return "", nil, fmt.Errorf("%s: %w", filepath.Base(cmd.Path), err)
	}
	return strings.TrimSuffix(line, "\n"), end, nil
}

// childOf returns the PID of the one child of a program that was started.
func childOf(cmd *exec.Cmd) (string, error) {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
	return strings.TrimSpace(string(children)), err
}

// populated measures what depends on how many there are.
func (b *bench) populated(c population) error {
	end, err := b.gather(c)
	if err != nil {
		return err
	}
	defer end()
	fmt.Fprintf(b.out, "%d processes in %d groups\n", c.processes, c.groups)
	for _, it := range items {
		if it.populated {
			if _, err := b.beside(it, "1"); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) growth() error {
	for _, g := range growths {
		if !strings.Contains("growth by "+g.thing, b.only) {
			continue
		}
		fmt.Fprintf(b.out, "growth by %s\n", g.thing)
		var last result
		for i, c := range g.populations {
			end, err := b.gather(c)
			if err != nil {
				return err
			}
			r, err := b.best(b.runs, "$nstool ls", "")
			end()
			if err != nil {
				return err
			}
			fmt.Fprintf(b.out, "  %-22s %12.1f", fmt.Sprintf("%d", g.count(c)), ms(r[0].us))
			if i > 0 {
				more := g.count(c) - g.count(g.populations[i-1])
				fmt.Fprintf(b.out, "   %.2f us, %.0f bytes for each more", float64(r[0].us-last.us)/float64(more), float64(r[0].kib-last.kib)*1024/float64(more))
			}
			fmt.Fprintln(b.out)
			last = r[0]
		}
	}
	return nil
}

// gather makes a population. The function that it returns ends it.
func (b *bench) gather(c population) (end func(), err error) {
	cmd := exec.Command(filepath.Join(b.dir, "population"), strconv.Itoa(c.processes), strconv.Itoa(c.groups), strconv.Itoa(c.threads), strconv.Itoa(c.descriptors))
	cmd.Stderr = os.Stderr
	line, end, err := stay(cmd)
	if err == nil && line != "ready" {
		end()
		err = fmt.Errorf("it says %q", line)
	}
	if err != nil {
		return nil, fmt.Errorf("population of %d: %w", c.processes, err)
	}
	return end, nil
}

// A result is the best time of some runs, and the most memory.
type result struct{ us, kib, status int }

// beside prints one row.
func (b *bench) beside(it item, pid string) (r [2]result, err error) {
	if !strings.Contains(it.name, b.only) {
		return r, nil
	}
	if r, err = b.best(b.runs, it.nstool, it.peer, "pid="+pid); err != nil {
		return r, err
	}
	fmt.Fprintf(b.out, "  %-22s %12.1f %12.1f %7.3f %12d %12d", it.name, ms(r[0].us), ms(r[1].us), float64(r[0].us)/float64(r[1].us), r[0].kib, r[1].kib)
	for i, name := range []string{"nstool", "peer"} {
		if r[i].status != 0 {
			fmt.Fprintf(b.out, "  %s: status %d", name, r[i].status)
		}
	}
	fmt.Fprintln(b.out)
	return r, nil
}

func ms(us int) float64 { return float64(us) / 1000 }

// best runs two commands in turn, so that other load on the host is shared fairly. The
// second may be empty.
func (b *bench) best(runs int, ours, peers string, env ...string) (results [2]result, err error) {
	env = append(append(os.Environ(), "nstool="+filepath.Join(b.dir, "nstool"), "empty="+filepath.Join(b.dir, "empty")), env...)
	spent := 0
	for i := range runs {
		for which, command := range []string{ours, peers} {
			if command == "" {
				continue
			}
			// The shell has become measure when the time starts.
			cmd := exec.Command("sh", "-c", "exec "+filepath.Join(b.dir, "measure")+" "+command)
			cmd.Env = env
			out, err := cmd.Output()
			var r result
			if err == nil {
				_, err = fmt.Sscan(string(out), &r.us, &r.kib, &r.status)
			}
			if err != nil {
				return results, fmt.Errorf("%s: %w", command, err)
			}
			best := &results[which]
			if i > 0 {
				r.us, r.kib, r.status = min(r.us, best.us), max(r.kib, best.kib), max(r.status, best.status)
			}
			*best = r
			spent += r.us
		}
		if spent > 5_000_000 && i > 0 {
			break
		}
	}
	return results, nil
}

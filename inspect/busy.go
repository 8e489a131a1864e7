package inspect

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"syscall"

	"github.com/nstool/nstool/internal/procfile"
	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/internal/wait"
)

// Busy is what keeps a mount, or its file system, from being unmounted.
type Busy struct {
	// Path is the absolute path that was asked about.
	Path string
	// Mount is the mount with the mount point Path, or zero.
	Mount Mount
	// On is the mount that Path is on: Mount if it is a mount point. It is zero
	// for a block device that is not mounted here.
	On Mount
	// Device: Path is a block device.
	Device bool
	// Dev is the file system. All mounts of namespaces have the same, and differ by Root.
	Dev  Device
	Root string // of a mount of a namespace, as "net:[4026532281]", or ""
	// Uses are the uses, mounts first, then processes by PID.
	Uses []Use
	// Gaps are the things that could not be read.
	Gaps []Gap
}

// A UseKind is a way to use a file system.
type UseKind uint8

// Kinds of use.
const (
	ByOtherMount UseKind = iota + 1 // mounted elsewhere, or in another mount namespace
	ByMountBelow                    // something is mounted below the mount
	ByLoop                          // a loop device has a file of it
	BySwap                          // a swap file
	ByDevice                        // another block device is made of it
	ByLayer                         // an overlay has a layer of it
	ByCwd                           // a working directory
	ByRoot                          // a root directory
	ByExe                           // a program
	ByOpen                          // an open file
	ByMapped                        // a mapped file
	ByBound                         // a bound unix socket
)

var useNames = [...]string{
	ByOtherMount: "mount", ByMountBelow: "below", ByLoop: "loop", BySwap: "swap", ByDevice: "device", ByLayer: "layer", ByCwd: "cwd",
	ByRoot: "root", ByExe: "exe", ByOpen: "open", ByMapped: "mapped", ByBound: "bound",
}

// String returns a word for k: "mount", "below", "loop", "swap", "device",
// "layer", "cwd", "root", "exe", "open", "mapped" or "bound".
func (k UseKind) String() string {
	if int(k) < len(useNames) && useNames[k] != "" {
		return useNames[k]
	}
	return fmt.Sprintf("use(%d)", uint8(k))
}

// A Use is one use of a file system.
type Use struct {
	Kind UseKind
	PID  int    // the process, for the kinds from ByCwd on
	TID  int    // the thread, if it is not the one that the process is named for
	FD   int    // for ByOpen and ByBound
	Path string // the file, the mount point, or the device
	// Mount is the mount that is used, or zero if it is not known.
	Mount Mount
	// On is the directory that is used, for ByLayer.
	On string
	// InUse: the device is in use itself, for ByLoop and ByDevice, and cannot be taken apart yet.
	InUse bool
	// Reached: Path leads the caller to the mount, so umount(8) takes that one; for the kinds up
	// to ByMountBelow and for ByLayer.
	Reached bool
	// Detached: the mount was detached (umount -l) and is still used.
	Detached bool
	// Same: it uses the very mount that was asked about, so umount(2) fails. Other uses hold the
	// file system.
	Same bool
}

// Busy finds what uses path: a mount point, a block device, or a directory or file. Of the latter
// only uses at or below it count.
//
// It reads the mount tables of every mount namespace, and the working and root directory, program,
// open files, mapped files and bound sockets of every process. It asks no server of a file system,
// and a process that does not answer in time is a gap. It needs the same privileges as [Scan].
func (s *Snapshot) Busy(ctx context.Context, path string) (*Busy, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	b := &busy{Busy: Busy{Path: path}, snap: s, byID: make(map[int]Mount), points: make(map[ID][]Mount)}
	defer b.stuck.Close(func() {})
	b.Gaps = s.mountTables(ctx, &b.stuck, func(m Mount) {
		b.byID[m.ID] = m
		b.points[m.In] = append(b.points[m.In], m)
	})
	if self, ok := s.Process(s.proc.self); ok {
		b.here, _ = self.Namespace(Mnt)
	}
	b.tree = NewMountTree(b.points[b.here])
	if err := b.locate(); err != nil {
		return nil, err
	}
	if _, _, ok := b.On.Namespace(); ok {
		b.Root = b.On.Root
	}
	b.devs = map[Device]bool{b.Dev: true}
	if b.Device {
		b.addPartitions()
	}
	b.findMounts()
	b.findLayers()
	b.findDevices()
	b.findSockets()
	b.findProcesses(ctx)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	away := func(u Use) int { // the caller's mount namespace comes first
		if u.Mount.In == b.here {
			return 0
		}
		return 1
	}
	sort.Slice(b.Uses, func(i, j int) bool {
		x, y := &b.Uses[i], &b.Uses[j]
		return cmp.Or(cmp.Compare(min(x.Kind, ByCwd), min(y.Kind, ByCwd)), cmp.Compare(x.PID, y.PID), cmp.Compare(x.TID, y.TID),
			cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.FD, y.FD), cmp.Compare(away(*x), away(*y)), cmp.Compare(x.Mount.In.Ino, y.Mount.In.Ino), cmp.Compare(x.Path, y.Path)) < 0
	})
	return &b.Busy, nil
}

// A busy is a call of Busy.
type busy struct {
	Busy
	snap    *Snapshot
	stuck   wait.Stuck
	here    ID                // the caller's mount namespace
	tree    *MountTree        // of its mounts
	devs    map[Device]bool   // Dev, and the partitions of a disk
	swaps   map[string]Device // the files that are swapped to, and the devices that they are
	byID    map[int]Mount     // all mounts
	points  map[ID][]Mount    // of a mount namespace, the upper ones of a stack last
	part    bool              // only paths at or below Path count, and not the whole file system
	sockets map[string]string // the path of each bound socket, or "", by the text of a link to it
}

// locate finds what the path is. A mount point is recognized by its name alone: its file system
// may not answer.
func (b *busy) locate() error {
	openByID := func(path string) bool {
		for _, m := range b.points[b.here] {
			if m.Point == path {
				b.Mount, b.On = m, m // the last one is on top
			}
		}
		b.Dev = b.Mount.Dev
		return b.Mount.ID != 0
	}
	if openByID(b.Path) {
		return nil
	}
	path, err := b.resolve(b.Path)
	if err != nil {
		return err
	}
	b.Path = path
	if openByID(b.Path) {
		return nil
	}
	b.On = b.mountOf(b.here, b.Path)
	if sys.IsNear(b.On.Type) {
		place, err := sys.Statx(b.Path)
		if err != nil {
			return err
		}
		if place.IsBlock {
			b.Device, b.Dev, b.On = true, Device{place.DevMajor, place.DevMinor}, Mount{}
			for _, m := range b.points[b.here] {
				if m.Dev == b.Dev {
					b.On = m
					break
				}
			}
			return nil
		}
		if m, ok := b.byID[int(place.Mount)]; ok {
			b.On = m
		}
	}
	if b.On.ID == 0 {
		// The table has no mount above it, as in a chroot(2), or was not read.
		return fmt.Errorf("%s: the mounts of the caller do not say what it is on: %w", b.Path, ErrNotAsked)
	}
	b.Dev, b.part = b.On.Dev, true
	return nil
}

// resolve follows the links in a path, except on file systems with a server.
func (b *busy) resolve(path string) (string, error) {
	done, rest := "/", strings.TrimPrefix(path, "/")
	for links := 0; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		if name == ".." {
			done = filepath.Dir(done)
			continue
		}
		next := filepath.Join(done, name)
		if !sys.IsNear(b.mountOf(b.here, done).Type) || !sys.IsNear(b.mountOf(b.here, next).Type) {
			return filepath.Join(next, rest), nil
		}
		text, err := os.Readlink(next)
		switch {
		case errors.Is(err, syscall.EINVAL): // no link
			done = next
			continue
		case err != nil:
			return "", err
		}
		if links++; links > 40 {
			return "", &fs.PathError{Op: "readlink", Path: path, Err: syscall.ELOOP}
		}
		if filepath.IsAbs(text) {
			done = "/"
		}
		rest = strings.TrimPrefix(text, "/") + "/" + rest
	}
	return done, nil
}

// below reports whether path is dir or below it.
func below(path, dir string) bool {
	return path == dir || dir == "/" && path != "" || strings.HasPrefix(path, dir) && len(path) > len(dir) && path[len(dir)] == '/'
}

// mountOf returns the mount that a path of a mount namespace is on, by its name.
func (b *busy) mountOf(in ID, path string) (on Mount) {
	for _, m := range b.points[in] {
		if below(path, m.Point) && len(m.Point) >= len(on.Point) {
			on = m
		}
	}
	return on
}

// findMounts finds other mounts of the file system, in all mount namespaces, and the mounts below.
func (b *busy) findMounts() {
	for in, mounts := range b.points {
		for _, m := range mounts {
			u := Use{Kind: ByOtherMount, Path: m.Point, Mount: m}
			switch {
			case b.Mount.ID != 0 && m.Parent == b.Mount.ID:
				u.Kind, u.Same = ByMountBelow, true
			case b.part && in != b.here && below(m.Point, b.Path):
				// It is no mount point here any more, but it is one there.
			case b.part || !b.of(m) || m.ID == b.Mount.ID:
				continue
			}
			u.Reached = b.reached(m)
			b.Uses = append(b.Uses, u)
		}
	}
}

// counts reports whether a path of a mount namespace is on the file system, and at or below the
// path that was asked about.
func (b *busy) counts(path string) bool {
	if b.part {
		return below(path, b.Path)
	}
	return b.of(b.mountOf(b.here, path))
}

// of reports whether a mount shows what was asked about.
func (b *busy) of(m Mount) bool {
	if b.Root != "" {
		return m.Dev == b.Dev && m.Root == b.Root
	}
	// A file system on several devices has a number of its own.
	return b.devs[m.Dev] || b.Device && m.Source == b.Path
}

// reached reports whether the path of a mount leads the caller to it.
func (b *busy) reached(m Mount) bool {
	stack := b.tree.At(m.Point)
	return m.In == b.here && len(stack) > 0 && stack[0].ID == m.ID
}

// addPartitions adds the partitions of a disk.
func (b *busy) addPartitions() {
	parts, _ := filepath.Glob(fmt.Sprintf("/sys/dev/block/%s/*/partition", b.Dev))
	for _, file := range parts {
		if dev, ok := readDevice(filepath.Join(filepath.Dir(file), "dev")); ok {
			b.devs[dev] = true
		}
	}
}

// readDevice reads a device number from a file of sysfs: "254:1".
func readDevice(path string) (d Device, ok bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return d, false
	}
	return parseDevice(strings.TrimSpace(string(text)), 10)
}

// parseDevice reads MAJOR:MINOR.
func parseDevice(text string, base int) (d Device, ok bool) {
	major, minor, _ := strings.Cut(text, ":")
	x, err := strconv.ParseUint(major, base, 32)
	y, err2 := strconv.ParseUint(minor, base, 32)
	return Device{uint32(x), uint32(y)}, err == nil && err2 == nil
}

// findLayers finds the overlays with a layer on the file system. They hold it by private mounts,
// which are in no table.
func (b *busy) findLayers() {
	all := make(map[Device][]Mount)
	for _, m := range b.byID {
		if m.Type == "overlay" && !b.of(m) {
			all[m.Dev] = append(all[m.Dev], m)
		}
	}
	for _, mounts := range all {
		// The paths of layers are those of the mount namespace where the overlay was made. If it
		// is mounted in the caller's, that is the caller's.
		at := mounts[max(0, slices.IndexFunc(mounts, func(m Mount) bool { return m.In == b.here }))]
		for _, layer := range layers(at.Super) {
			if b.part && (at.In != b.here || !below(layer, b.Path)) || !b.part && !b.of(b.mountOf(at.In, layer)) {
				continue
			}
			for _, m := range mounts {
				b.Uses = append(b.Uses, Use{Kind: ByLayer, Path: m.Point, On: layer, Mount: m, Reached: b.reached(m)})
			}
			break
		}
	}
}

// layers returns the directories of an overlay, by its options in a mount table. A relative one is
// relative to an unknown directory.
func layers(super string) (dirs []string) {
	for option := range strings.SplitSeq(super, ",") {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "upperdir", "workdir", "lowerdir+", "datadir+":
			dirs = append(dirs, value)
		case "lowerdir":
			// A colon separates two, and an escaped colon is part of a name.
			value = strings.ReplaceAll(value, `\:`, "\x00")
			for dir := range strings.SplitSeq(value, ":") {
				dirs = append(dirs, strings.ReplaceAll(dir, "\x00", ":"))
			}
		}
	}
	return slices.DeleteFunc(dirs, func(dir string) bool { return !filepath.IsAbs(dir) })
}

// findDevices finds the devices that the kernel made of files of the file system, or of its block
// device.
func (b *busy) findDevices() {
	b.readSwaps()
	loops, _ := filepath.Glob("/sys/block/*/loop/backing_file")
	for _, file := range loops {
		text, err := os.ReadFile(file)
		path := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), " (deleted)")
		if err != nil || !b.backs(path) {
			continue
		}
		dir := filepath.Dir(filepath.Dir(file))
		b.Uses = append(b.Uses, Use{Kind: ByLoop, Path: "/dev/" + filepath.Base(dir), Mount: b.mountOf(b.here, path), InUse: b.inUse(dir)})
	}
	for path := range b.swaps {
		if b.backs(path) {
			b.Uses = append(b.Uses, Use{Kind: BySwap, Path: path, Mount: b.mountOf(b.here, path)})
		}
	}
	if b.part {
		return
	}
	for dev := range b.devs {
		holders, _ := os.ReadDir(fmt.Sprintf("/sys/dev/block/%s/holders", dev))
		for _, h := range holders {
			b.Uses = append(b.Uses, Use{Kind: ByDevice, Path: "/dev/" + h.Name(), InUse: b.inUse("/sys/class/block/" + h.Name())})
		}
	}
}

// readSwaps finds the swap files and devices.
func (b *busy) readSwaps() {
	b.swaps = make(map[string]Device)
	text, err := os.ReadFile(filepath.Join(b.snap.proc.path, "swaps"))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) { // a kernel without swap
			b.Gaps = append(b.Gaps, Gap{What: "swaps", Err: err})
		}
		return
	}
	for line := range bytes.Lines(text) {
		name, _, _ := bytes.Cut(line, []byte(" "))
		if path := procfile.Unescape(string(name)); filepath.IsAbs(path) {
			b.swaps[path], _ = b.blockDevice(path)
		}
	}
}

// blockDevice returns the number of a block device, by its path.
func (b *busy) blockDevice(path string) (Device, bool) {
	if !sys.IsNear(b.mountOf(b.here, path).Type) {
		return Device{}, false
	}
	place, err := sys.Statx(path)
	return Device{place.DevMajor, place.DevMinor}, err == nil && place.IsBlock
}

// backs reports whether the file of a device is on the file system.
func (b *busy) backs(path string) bool {
	if dev, ok := b.blockDevice(path); ok && !b.part {
		return b.devs[dev]
	}
	return b.counts(path)
}

// inUse reports whether a block device, by its directory in sysfs, is mounted,
// swapped to, or part of another.
func (b *busy) inUse(dir string) bool {
	dev, ok := readDevice(filepath.Join(dir, "dev"))
	if !ok {
		return false
	}
	for _, m := range b.byID {
		if m.Dev == dev {
			return true
		}
	}
	for _, swap := range b.swaps {
		if swap == dev {
			return true
		}
	}
	holders, _ := os.ReadDir(filepath.Join(dir, "holders"))
	return len(holders) > 0
}

// findSockets finds the unix sockets that are bound to a file, by the names that they were bound
// to.
func (b *busy) findSockets() {
	b.sockets = make(map[string]string)
	for ns := range b.snap.Namespaces(Net) {
		leader := ns.Leader()
		if leader == nil {
			continue
		}
		text, err := os.ReadFile(filepath.Join(b.snap.proc.path, strconv.Itoa(leader.PID), "net/unix"))
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) && !sys.Gone(err) {
				b.Gaps = append(b.Gaps, Gap{leader.PID, "net/unix", err})
			}
			continue
		}
		b.addSockets(text)
	}
}

// errTwice reports a table that cannot be relied on: the kernel writes the name of a socket as it
// is, and the name may contain whole lines.
var errTwice = errors.New("two have the same number: one has a name that looks like the line of another")

// addSockets reads the text of /proc/net/unix.
func (b *busy) addSockets(text []byte) {
	for line := range bytes.Lines(text) {
		s, ok := procfile.ParseUnixSocket(string(line))
		if !ok {
			continue
		}
		path := s.Path
		if strings.HasPrefix(path, "@") { // an abstract name, of no file
			path = ""
		}
		link := fmt.Sprintf("socket:[%d]", s.Inode)
		if _, twice := b.sockets[link]; twice {
			path = ""
			if !slices.ContainsFunc(b.Gaps, func(g Gap) bool { return errors.Is(g.Err, errTwice) }) {
				b.Gaps = append(b.Gaps, Gap{What: "unix sockets", Err: errTwice})
			}
		}
		b.sockets[link] = path
	}
}

// findProcesses finds the processes that use the file system.
func (b *busy) findProcesses(ctx context.Context) {
	procs := slices.Collect(b.snap.Processes())
	type answer struct {
		users []Use
		err   error
	}
	ask := func(what string, f func(p *Process) ([]Use, error)) (silent []int) {
		silent = wait.Many(ctx, &b.stuck, len(procs),
			func() func(int) answer {
				return func(i int) answer {
					users, err := f(procs[i])
					return answer{users, err}
				}
			},
			func(i int, a answer) {
				if a.err != nil && !errors.Is(a.err, fs.ErrNotExist) && !sys.Gone(a.err) {
					b.Gaps = append(b.Gaps, Gap{procs[i].PID, what, a.err})
				}
				b.Uses = append(b.Uses, a.users...)
			}, nil)
		for _, i := range silent {
			b.Gaps = append(b.Gaps, Gap{procs[i].PID, what, ErrSlow})
		}
		return silent
	}
	if silent := ask("files", b.usesOf); len(silent) > 0 {
		// The file system may be the one that does not answer. Use only the texts of the links
		// then.
		var again []*Process
		for _, i := range silent {
			again = append(again, procs[i])
		}
		whole := procs
		procs = again
		ask("files", b.namesOf)
		procs = whole
	}
	ask("maps", b.mapsOf)
}

// A directory is a link of a task to a file that it uses.
type directory struct {
	name string
	kind UseKind
}

var directories = []directory{{"cwd", ByCwd}, {"root", ByRoot}, {"exe", ByExe}}

// usesOf finds the uses by a process, and by its threads with directories of their own.
func (b *busy) usesOf(p *Process) (users []Use, err error) {
	dir := b.dir(p)
	users, err = b.usesOfTask(dir, p.PID, 0, directories)
	if p.Threads > 1 {
		users = append(users, b.threadsOf(p, users)...)
	}
	names, e := readNames(dir + "/fd")
	if e != nil {
		return users, e
	}
	for _, name := range names {
		fd, e := strconv.Atoi(name)
		path, e2 := os.Readlink(dir + "/fd/" + name)
		if e != nil || e2 != nil {
			continue
		}
		if bound := b.sockets[path]; bound != "" {
			if cwd, err := os.Readlink(dir + "/cwd"); err == nil && bound[0] != '/' {
				bound = filepath.Join(cwd, bound) // if it was bound there
			}
			in, _ := p.Namespace(Mnt)
			m := b.mountOf(in, bound)
			if b.of(m) {
				users = b.add(users, Use{Kind: ByBound, PID: p.PID, FD: fd, Path: bound, Mount: m})
			}
			continue
		}
		if path == "" || path[0] != '/' {
			continue // a pipe, a socket, or on no file system
		}
		id := mountOfFD(dir + "/fdinfo/" + name)
		m, known := b.byID[id]
		u := Use{Kind: ByOpen, PID: p.PID, FD: fd, Path: path, Mount: m}
		if !known {
			place, e := sys.Statx(dir + "/fd/" + name)
			if e != nil || !b.at(place) {
				continue
			}
			u.Detached = true
		} else if !b.of(m) {
			continue
		}
		users = b.add(users, u)
	}
	return users, err
}

// dir returns the directory of /proc with the files of a process. If its first thread has exited,
// that is of another thread.
func (b *busy) dir(p *Process) string {
	dir := filepath.Join(b.snap.proc.path, strconv.Itoa(p.PID))
	if _, err := os.Readlink(dir + "/cwd"); p.Threads > 1 && errors.Is(err, fs.ErrNotExist) {
		tids, _ := readNames(dir + "/task")
		for _, tid := range tids {
			if _, err := os.Readlink(dir + "/task/" + tid + "/cwd"); err == nil {
				return dir + "/task/" + tid
			}
		}
	}
	return dir
}

// threadsOf finds directories that threads do not share with their process.
func (b *busy) threadsOf(p *Process, shared []Use) (users []Use) {
	dir := filepath.Join(b.snap.proc.path, strconv.Itoa(p.PID), "task")
	tids, _ := readNames(dir)
	for _, name := range tids {
		tid, err := strconv.Atoi(name)
		if err != nil || tid == p.PID {
			continue
		}
		own, _ := b.usesOfTask(dir+"/"+name, p.PID, tid, directories[:2])
		for _, u := range own {
			if !slices.ContainsFunc(shared, func(s Use) bool { return s.Kind == u.Kind && s.Path == u.Path && s.Mount == u.Mount }) {
				users = append(users, u)
			}
		}
	}
	return users
}

// usesOfTask finds the uses by some links of a task.
func (b *busy) usesOfTask(dir string, pid, tid int, links []directory) (users []Use, err error) {
	for _, d := range links {
		place, e := sys.Statx(dir + "/" + d.name)
		if e != nil {
			err = e
			continue
		}
		if u, ok := b.use(place); ok {
			u.Kind, u.PID, u.TID = d.kind, pid, tid
			u.Path, _ = os.Readlink(dir + "/" + d.name)
			users = b.add(users, u)
		}
	}
	return users, err
}

// add adds a use, if it is at or below the path that was asked about.
func (b *busy) add(users []Use, u Use) []Use {
	if b.part && !below(strings.TrimSuffix(u.Path, " (deleted)"), b.Path) {
		return users
	}
	u.Same = b.Mount.ID != 0 && u.Mount.ID == b.Mount.ID
	return append(users, u)
}

// use reports whether a place is on the file system, and by which mount.
func (b *busy) use(place sys.Place) (Use, bool) {
	m, known := b.byID[int(place.Mount)]
	switch {
	case known:
		return Use{Mount: m}, b.of(m)
	case b.at(place):
		return Use{Detached: place.Mount != 0}, true
	}
	return Use{}, false
}

// at reports whether a place that is in no known mount is on the file system.
func (b *busy) at(place sys.Place) bool {
	if _, ino, ok := ParseLink(b.Root); ok && place.Ino != ino {
		return false
	}
	return b.devs[Device{place.Major, place.Minor}]
}

// namesOf is usesOf by the texts of links alone.
func (b *busy) namesOf(p *Process) (users []Use, err error) {
	dir := b.dir(p)
	in, ok := p.Namespace(Mnt)
	if !ok {
		return nil, nil
	}
	for _, d := range directories {
		path, err := os.Readlink(dir + "/" + d.name)
		m := b.mountOf(in, path)
		if err == nil && b.of(m) {
			users = b.add(users, Use{Kind: d.kind, PID: p.PID, Path: path, Mount: m})
		}
	}
	names, err := readNames(dir + "/fd")
	for _, name := range names {
		fd, e := strconv.Atoi(name)
		path, e2 := os.Readlink(dir + "/fd/" + name)
		m := b.byID[mountOfFD(dir+"/fdinfo/"+name)]
		if e == nil && e2 == nil && m.ID != 0 && b.of(m) {
			users = b.add(users, Use{Kind: ByOpen, PID: p.PID, FD: fd, Path: path, Mount: m})
		}
	}
	return users, err
}

// mapsOf finds the mapped files of a process, without its program.
func (b *busy) mapsOf(p *Process) (users []Use, err error) {
	file, err := os.Open(filepath.Join(b.snap.proc.path, strconv.Itoa(p.PID), "maps"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	in, _ := p.Namespace(Mnt)
	exe, _ := os.Readlink(filepath.Join(b.snap.proc.path, strconv.Itoa(p.PID), "exe"))
	seen := make(map[string]bool)
	lines := bufio.NewScanner(file) // there may be hundreds of megabytes
	for lines.Scan() {
		dev, path, ok := parseMap(lines.Text())
		if !ok || !b.devs[dev] || b.Root != "" || seen[path] || path == exe {
			continue
		}
		seen[path] = true
		m := b.mountOf(in, path)
		if !b.of(m) {
			m = Mount{}
		}
		// The kernel reports the file system, and not the mount.
		users = b.add(users, Use{Kind: ByMapped, PID: p.PID, Path: path, Mount: m})
	}
	return users, lines.Err()
}

// parseMap reads a line of proc_pid_maps(5):
//
//	7f1c-7f1d r-xp 00000000 fe:01 1234   /usr/lib/libc.so.6
func parseMap(line string) (dev Device, path string, ok bool) {
	i := strings.IndexByte(line, '/')
	if i < 0 {
		return Device{}, "", false
	}
	f := strings.Fields(line[:i])
	if len(f) != 5 {
		return Device{}, "", false
	}
	dev, ok = parseDevice(f[3], 16)
	return dev, strings.ReplaceAll(line[i:], `\012`, "\n"), ok
}

// mountOfFD returns the mount of an open file, by a file under fdinfo, or 0.
func mountOfFD(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	id, _ := strconv.Atoi(procfile.Field(text, "mnt_id"))
	return id
}

// readNames returns the names in a directory.
func readNames(path string) ([]string, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.Readdirnames(-1)
}

package container

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/nstest"
)

// A file is a user's word if it is the user's, and nobody else can write it or a directory above
// it.
func TestStoreIsOneUsersWord(t *testing.T) {
	nstest.Need(t, "root")
	const ann, bob = 54321, 54322
	// Everybody can write below /tmp.
	top, err := os.MkdirTemp("/var/lib", "owner-")
	check(t, err)
	defer os.RemoveAll(top)
	check(t, os.Chmod(top, 0o755)) //nolint:gosec // as such a directory has it
	for _, c := range []struct {
		name           string
		above, dir     int // who owns the directories
		file           int
		mode, fileMode os.FileMode // of the directory, and of the file
		gid            int
		roots, anns    bool // whose word it is
	}{
		{"root's", 0, 0, 0, 0o755, 0o644, 0, true, false},
		{"root's, and its group's", 0, 0, 0, 0o755, 0o664, 0, false, false},
		{"root's, in a directory of its group's", 0, 0, 0, 0o775, 0o644, 0, false, false},
		{"root's, and another group's", 0, 0, 0, 0o755, 0o664, 50, false, false},
		{"root's, in a directory of another group", 0, 0, 0, 0o775, 0o644, 50, false, false},
		{"root's, for others to write", 0, 0, 0, 0o755, 0o646, 0, false, false},
		{"root's, in a directory for others to write", 0, 0, 0, 0o757, 0o644, 0, false, false},
		{"root's, in a sticky one", 0, 0, 0, 0o777 | os.ModeSticky, 0o644, 0, false, false},
		{"root's, in a directory of ann's", 0, ann, 0, 0o755, 0o644, 0, false, false},
		{"root's, below a directory of ann's", ann, 0, 0, 0o755, 0o644, 0, false, false},
		{"ann's, in a directory of root's", 0, 0, ann, 0o755, 0o644, 0, false, true},
		{"ann's", ann, ann, ann, 0o755, 0o644, 0, false, true},
		{"ann's, and her own group's", ann, ann, ann, 0o775, 0o664, ann, false, true},
		{"ann's, and another group's", ann, ann, ann, 0o755, 0o664, bob, false, false},
		{"ann's, for others to write", ann, ann, ann, 0o755, 0o646, 0, false, false},
		{"ann's, in a directory of bob's", 0, bob, ann, 0o755, 0o644, 0, false, false},
		{"bob's, in a directory of ann's", ann, ann, bob, 0o755, 0o644, 0, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			above, err := os.MkdirTemp(top, "above-")
			check(t, err)
			dir := filepath.Join(above, "dir")
			file := filepath.Join(dir, "sub", "file")
			write(t, file, "x")
			check(t, os.Chown(file, c.file, c.gid))
			check(t, os.Chmod(file, c.fileMode))
			check(t, os.Chown(filepath.Join(dir, "sub"), c.dir, c.gid))
			check(t, os.Chown(dir, c.dir, c.gid))
			check(t, os.Chmod(dir, c.mode))
			check(t, os.Chown(above, c.above, 0))
			check(t, os.Chmod(above, 0o755)) //nolint:gosec // as such a directory has it
			for owner, want := range map[Owner]bool{Root: c.roots, ann: c.anns} {
				var gaps []inspect.Gap
				s, err := openStore("/", callersMounts, owner, nil, nil, &gaps)
				check(t, err)
				if _, ok := s.read(dir, "sub/file"); ok != want {
					t.Errorf("it is %d's word: %v, gaps %v", owner, ok, gaps)
				}
				if !want && (len(gaps) != 1 || !errors.Is(gaps[0].Err, errOthers)) {
					t.Errorf("gaps %v", gaps)
				}
				s.close()
			}
		})
	}
}

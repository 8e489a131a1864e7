package entry

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/nstool/nstool/enter"
	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// lookUpUser finds the numbers of the user and the group that are given by name, in the files that
// the program will see: those of the target or of the caller. A user that is given by name has
// the group of the account, unless another one is given.
func (o *Options) lookUpUser(c *enter.Cmd) error {
	if o.userName != "" {
		numbers, err := o.findAccount(c, o.userName, "user", "/etc/passwd")
		if err != nil {
			return err
		}
		c.UID = numbers[0]
		if c.GID == nil && !c.FollowGID && o.groupName == "" {
			c.GID = numbers[1]
		}
	}
	if o.groupName != "" {
		numbers, err := o.findAccount(c, o.groupName, "group", "/etc/group")
		if err != nil {
			return err
		}
		c.GID = numbers[0]
	}
	return nil
}

// findAccount looks up a name in passwd(5) or group(5). Both have its number in the third
// field, and passwd(5) has the number of its group in the fourth.
func (o *Options) findAccount(c *enter.Cmd, name, what, file string) (numbers [2]*uint32, err error) {
	const most = 1 << 20
	var text []byte
	where := file
	switch inside := c.Types.Has(inspect.Mnt) || c.Root; {
	case c.Files[inspect.Mnt] != nil || o.RootDir != "":
		return numbers, usagef("the %s %q can be looked up for a process as target alone: give its number", what, name)
	case inside:
		where += " of " + c.Target.String()
		root, e := c.Target.Root()
		if e != nil {
			return numbers, e
		}
		text, err = sys.ReadBeneath(int(root.Fd()), file, most)
		root.Close()
	default:
		text, err = sys.ReadRegular(file, most)
	}
	if err != nil {
		return numbers, fmt.Errorf("look up the %s %q: %w", what, name, err)
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		fields := strings.Split(line, ":")
		if len(fields) < 4 || fields[0] != name {
			continue
		}
		for i, field := range fields[2:4] {
			if n, err := strconv.ParseUint(field, 10, 32); err == nil && n < 1<<32-1 {
				id := uint32(n)
				numbers[i] = &id
			}
		}
		if numbers[0] != nil {
			return numbers, nil
		}
	}
	return numbers, fmt.Errorf("there is no %s %q in %s", what, name, where)
}

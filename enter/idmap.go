package enter

import (
	"fmt"

	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/internal/sys"
)

// An idMap is a uid_map or gid_map of user_namespaces(7), as the caller sees it: outside are
// the caller's numbers.
type idMap = task.IDMap

func readMap(p *sys.Process, name string) (idMap, error) {
	b, err := p.ReadFile(name, 64<<10)
	if err != nil {
		return nil, err
	}
	m, err := task.ParseIDMap(string(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Path(name), err)
	}
	return m, nil
}

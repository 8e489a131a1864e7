package doctor

import (
	"fmt"
	"strings"
)

// maxAlike limits how many notes of one group are shown one by one.
const maxAlike = 3

// A group is what notes have in common that are shown as one if there are many, such as
// namespaces of one type that something keeps on purpose.
type group struct {
	subject string
	words   string // after their number
}

// Fold returns findings for people to read. It replaces many notes of one group by one
// note in the place of the first, with their number and all their evidence.
func Fold(found []Finding) []Finding {
	alike := make(map[group][]Finding)
	for _, f := range found {
		alike[f.group] = append(alike[f.group], f)
	}
	var folded []Finding
	for _, f := range found {
		all := alike[f.group]
		switch {
		case f.group == group{} || len(all) <= maxAlike:
			folded = append(folded, f)
		case f.Subject == all[0].Subject:
			folded = append(folded, foldGroup(f.group, all))
		}
	}
	return folded
}

func foldGroup(k group, all []Finding) Finding {
	f := Finding{
		Severity: Note, Check: all[0].Check, Subject: k.subject, Since: all[0].Since, SinceIs: all[0].SinceIs,
		What: fmt.Sprintf("%d %s", len(all), k.words),
	}
	for _, one := range all {
		f.Evidence = append(f.Evidence, strings.Join(append([]string{one.Subject}, one.Evidence[:min(len(one.Evidence), 1)]...), " "))
	}
	return f
}

package doctor

import (
	"fmt"
	"strings"
)

// mostAlike is how many notes of one kin are told one by one.
const mostAlike = 3

// A kin is what notes have in common that are told as one where there are many, such
// as namespaces of a type that something keeps on purpose.
type kin struct {
	subject string
	words   string // behind the number of them
}

// Fold returns findings for people to read: of many notes that say the same of
// one namespace after the other, one that says how many there are, in the place of
// the first. Their evidence is that of them all.
func Fold(found []Finding) []Finding {
	alike := make(map[kin][]Finding)
	for _, f := range found {
		alike[f.kin] = append(alike[f.kin], f)
	}
	var folded []Finding
	for _, f := range found {
		all := alike[f.kin]
		switch {
		case f.kin == kin{} || len(all) <= mostAlike:
			folded = append(folded, f)
		case f.Subject == all[0].Subject:
			folded = append(folded, foldKin(f.kin, all))
		}
	}
	return folded
}

func foldKin(k kin, all []Finding) Finding {
	f := Finding{
		Severity: Note, Check: all[0].Check, Subject: k.subject, Since: all[0].Since, SinceIs: all[0].SinceIs,
		What: fmt.Sprintf("%d %s", len(all), k.words),
	}
	for _, one := range all {
		f.Evidence = append(f.Evidence, strings.Join(append([]string{one.Subject}, one.Evidence[:min(len(one.Evidence), 1)]...), " "))
	}
	return f
}

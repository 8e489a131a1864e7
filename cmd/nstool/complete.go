package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// complete lets the shell complete the values of a flag; of a list with
// commas, the last one.
func complete(cmd *cobra.Command, flag string, words func() []string) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		before := ""
		if i := strings.LastIndexAny(word, ",+"); i >= 0 {
			before = word[:i+1]
		}
		var all []string
		for _, w := range words() {
			all = append(all, before+w)
		}
		return all, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	})
	if err != nil {
		panic(err) // no such flag
	}
}

// completeTargets offers what can stand for a TARGET.
func completeTargets(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"self"}, cobra.ShellCompDirectiveDefault
}

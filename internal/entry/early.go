package entry

// outcome is what came of a command that was carried out early.
var outcome struct {
	done bool
	err  error
}

// Outcome returns what came of the command, if it has been carried out before
// main started.
func Outcome() (done bool, err error) { return outcome.done, outcome.err }

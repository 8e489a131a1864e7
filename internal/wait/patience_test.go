package wait

import (
	"os/exec"
	"testing"
	"time"
)

// Who runs, or waits to run, is waited for; who sleeps is not.
func TestPatience(t *testing.T) {
	start := func(args ...string) int {
		cmd := exec.Command(args[0], args[1:]...)
		if err := cmd.Start(); err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill() //nolint:errcheck // it is to end
			_ = cmd.Wait()         //nolint:errcheck // it was killed
		})
		return cmd.Process.Pid
	}
	const limit = 300 * time.Millisecond
	loop := []string{"taskset", "-c", "0", "sh", "-c", "while :; do :; done"}
	first := start(loop...)
	start(loop...)
	idle := start(append([]string{"chrt", "-i", "0"}, loop...)...)
	asleep := start("sleep", "1000")
	time.Sleep(100 * time.Millisecond) // until they are what they will be
	busy, kept, slept := NewPatience(limit, first), NewPatience(limit, idle), NewPatience(limit, asleep)
	time.Sleep(2 * limit)
	if left := busy.Left(); left < limit/2 {
		t.Errorf("who runs: left %v of %v", left, limit)
	}
	if left := kept.Left(); left == 0 {
		t.Errorf("who waits to run: left %v of %v", left, limit)
	}
	if left := slept.Left(); left > 0 {
		t.Errorf("who sleeps: left %v of %v", left, limit)
	}
}

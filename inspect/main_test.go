package inspect

import (
	"os"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

func TestMain(m *testing.M) {
	if how := os.Getenv(oddVar); how != "" {
		beOdd(how)
	}
	nstest.Main(m)
}

func TestAsUser(t *testing.T) { nstest.AsUser(t) }

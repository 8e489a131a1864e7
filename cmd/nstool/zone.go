package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nstool/nstool/internal/sys"
)

// zoneFile says which time zone the host is in.
const zoneFile = "/etc/localtime"

// errZone says that it did not answer: all times are those of UTC then.
var errZone error

// now returns the time. Package time reads the zone when a time is first shown, and
// would wait for that for ever.
func now() time.Time {
	if os.Getenv("TZ") == "" && errors.Is(sys.Answers(zoneFile), sys.ErrNoAnswer) {
		time.Local, errZone = time.UTC, fmt.Errorf("%s: %w", zoneFile, sys.ErrNoAnswer)
	}
	return time.Now()
}

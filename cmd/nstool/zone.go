package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nstool/nstool/internal/sys"
)

// zoneFile is the file with the time zone of the host.
const zoneFile = "/etc/localtime"

// errZone reports that it did not answer: all times are in UTC then.
var errZone error

// now returns the time. Package time reads the zone when a time is first formatted, and could
// block for ever.
func now() time.Time {
	if os.Getenv("TZ") == "" && errors.Is(sys.Answers(zoneFile), sys.ErrNoAnswer) {
		time.Local, errZone = time.UTC, fmt.Errorf("%s: %w", zoneFile, sys.ErrNoAnswer)
	}
	return time.Now()
}

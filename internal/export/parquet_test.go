package export

import (
	"errors"
	"fmt"
	"testing"

	"exportd/internal/parquetrow"
	"exportd/jobs"
)

// TestNotJoined: a job whose file is too large for its format ends; one with a damaged part begins again.
func TestNotJoined(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err   error
		code  jobs.Code
		class jobs.Class
	}{
		{fmt.Errorf("%w: more groups", parquetrow.ErrTooLarge), jobs.CodeTooManyBytes, jobs.Permanent},
		{errors.New("damaged"), jobs.CodePartsMissing, jobs.Stale},
	} {
		if f := jobs.AsFailure(notJoined(&jobs.Part{Object: "part"}, test.err)); f.Code != test.code || f.Class != test.class {
			t.Errorf("%v ends as %s, %v", test.err, f.Code, f.Class)
		}
	}
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"exportd/internal/config"
	"exportd/internal/datacheck"
	"exportd/internal/service"
)

// maxSamples bounds the ids that are kept of a fault: of the places under way at a time, a few megabytes.
const maxSamples = 1000

// checkData looks for documents that no route shows as they should be. What was found is told also where it
// ends early.
func checkData(ctx context.Context, cfg config.Config, c *service.Clients, flags doctorFlags, out io.Writer) error {
	if flags.samples < 0 || flags.samples > maxSamples || flags.maxReads < 0 {
		return fmt.Errorf("--samples must be 0 to %d, and --max-reads 0 or more", maxSamples)
	}
	tell, end := dataTable(out)
	if flags.asJSON {
		tell, end = dataJSON(out)
	}
	sum, err := datacheck.Check(ctx, datacheck.Config{Source: c.Records(), Datasets: cfg.Datasets, Samples: flags.samples, MostReads: flags.maxReads}, tell)
	if err := errors.Join(err, end(sum)); err != nil {
		return err
	}
	if sum.Faults > 0 {
		return errUnwell
	}
	return nil
}

// dataTable writes a line for each fault of a place.
func dataTable(out io.Writer) (tell func(datacheck.Finding) error, end func(datacheck.Summary) error) {
	tell = func(f datacheck.Finding) error {
		for _, fault := range f.Faults {
			where := strings.Join([]string{f.OrgID, f.Workspace, f.Channel}, " ")
			if _, err := fmt.Fprintf(out, "BAD  %s of %s: %d of %d documents: %s (%s)%s\n", f.Dataset, strings.TrimSpace(where), fault.Documents, f.Documents,
				fault.What, fault.Field, listed(fault, f.Complete)); err != nil {
				return err
			}
		}
		return nil
	}
	end = func(s datacheck.Summary) error {
		_, err := fmt.Fprintf(out, "%d documents in %d places looked at, %d faults, %d documents that nobody may read (no VIP workspace, or a channel that is not connected); about %d reads\n",
			s.Documents, s.Places, s.Faults, s.Elsewhere, s.Reads)
		if err == nil && !s.Complete {
			_, err = fmt.Fprintln(out, "not all documents were gone through: raise --max-reads, or see the error")
		}
		return err
	}
	return tell, end
}

// listed are the ids of a fault in words.
func listed(fault datacheck.Fault, complete bool) string {
	text := ""
	if len(fault.Samples) > 0 {
		text = ", as " + strings.Join(fault.Samples, " ")
	}
	if !complete {
		text += "; not all were gone through"
	}
	return text
}

// dataJSON writes an object of findings and the summary, which is whole wherever it ends.
func dataJSON(out io.Writer) (tell func(datacheck.Finding) error, end func(datacheck.Summary) error) {
	before := `{"findings": [`
	write := func(before string, v any) error {
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "%s\n  %s", before, raw)
		return err
	}
	tell = func(f datacheck.Finding) error {
		b := before
		before = ","
		return write(b, f)
	}
	end = func(s datacheck.Summary) error {
		if before != "," {
			if _, err := io.WriteString(out, before); err != nil {
				return err
			}
		}
		if err := write("\n], \"summary\":", s); err != nil {
			return err
		}
		_, err := io.WriteString(out, "}\n")
		return err
	}
	return tell, end
}

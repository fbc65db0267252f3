package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"exportd/api/client"
)

// showQuote prints what an export would come to.
func (a *app) showQuote(ctx context.Context, c *client.Client, r client.Request) error {
	q, err := c.Quote(ctx, r)
	if err != nil {
		return err
	}
	if a.asJSON {
		raw, err := json.Marshal(q)
		if err != nil {
			return err
		}
		return a.printJSON(raw)
	}
	fmt.Fprintln(a.stdout, clean(quoteText(q), true))
	return nil
}

// quoteText says it for people.
func quoteText(q *client.Quote) string {
	about := "about "
	if q.BytesExact {
		about = ""
	}
	lines := []string{
		fmt.Sprintf("%s, %s%s, in about %s", plural(q.Rows, "row", "rows"), about, size(q.EstimatedBytes), duration(time.Duration(q.EstimatedSeconds*float64(time.Second)))),
		"Firestore bills about " + plural(q.EstimatedReads, "read", "reads") + ".",
	}
	if n := q.EarlierRows; n != nil {
		lines = append(lines, "These are of all rows, to be compared with "+plural(*n, "row", "rows")+" of the earlier export: what has changed is known once they are.")
	}
	if n := q.WithoutSortField; n != nil && *n > 0 {
		lines = append(lines, plural(*n, "document", "documents")+" that the filters choose will not be in it, for want of the field that rows are sorted by (exportd doctor --data says which).")
	}
	if q.JobsAhead > 0 {
		lines = append(lines, plural(q.JobsAhead, "export", "exports")+" of your org before it.")
	}
	if q.WaitsForWorker {
		lines = append(lines, "No worker is there to make it: it begins when one is, and the time is from then on.")
	}
	if !q.OpensInExcel {
		lines = append(lines, "More rows than a sheet of Excel takes (1,048,575).")
	}
	if q.EstimatedFiles > 0 {
		lines = append(lines, fmt.Sprintf("The file will be a zip of about %d sheets: name it .zip.", q.EstimatedFiles))
	}
	if q.AttachesTo != nil {
		lines = append(lines, fmt.Sprintf("It would attach to job %s, which is %s; --no-cache makes a new one.", q.AttachesTo.JobID, q.AttachesTo.State))
	}
	if b := q.Budget; b != nil {
		lines = append(lines, "Of the key's budget for the day are left "+leftToday(b)+".")
	}
	for _, refusal := range q.Refusals {
		lines = append(lines, "It would not succeed: "+refusal.Message+".")
	}
	return strings.Join(lines, "\n")
}

package docs

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"exportd/internal/apikey"
	"exportd/internal/webhook"
	"exportd/jobs"
)

// Service is what pages say of the service that shows them.
type Service struct {
	Window      apikey.Window // of x-date
	DefaultWait time.Duration // of an export that does not say
	MaxWait     time.Duration
	URLLife     time.Duration // of a signed csvUrl
	OwnLinks    bool          // csvUrl is a link of the service's own
}

// facts are what pages are filled in with.
type facts struct {
	Service
	Callback callbackFacts
	Codes    []code
	Vectors  Vectors
}

// callbackFacts are the numbers of callbacks.
type callbackFacts struct {
	Attempts                 []attempt
	Last                     time.Duration // how long after the first attempt the last one comes
	JitterPercent            int
	Limits                   webhook.Limits
	DNS, Connect             time.Duration
	SlowDown, KeptRetryAfter time.Duration
	Tolerance                time.Duration
	MinBytes, MaxBytes       int
	SuspendExhausted         int
	SuspendAfter             time.Duration
}

// attempt is a row of the schedule.
type attempt struct {
	N           int
	Gap, Passed time.Duration
}

func (s *site) facts() facts {
	c := callbackFacts{
		JitterPercent: int(100 * webhook.Jitter), Limits: webhook.DefaultLimits(), DNS: webhook.DefaultDNSTimeout, Connect: webhook.DefaultConnectTimeout,
		SlowDown: webhook.SlowDown, KeptRetryAfter: webhook.MaxKeptRetryAfter, Tolerance: webhook.ReceiverTolerance,
		MinBytes: webhook.MinSecretBytes, MaxBytes: webhook.MaxSecretBytes,
		SuspendExhausted: webhook.SuspendExhausted, SuspendAfter: webhook.SuspendAfter,
	}
	for i, gap := range webhook.Schedule() {
		c.Last += gap
		c.Attempts = append(c.Attempts, attempt{i + 1, gap, c.Last})
	}
	return facts{s.Service, c, codes, s.vectors}
}

// code is what a job's error says.
type code struct {
	Code jobs.Code
	Means,
	Do string
}

const (
	again    = "Ask again. It was tried several times before it was given up."
	operator = "The operator must mend something, and can run the job again; you are called back as if it had not failed."
)

// codes are all there are.
var codes = []code{
	{jobs.CodeUnavailable, "The database or the storage did not answer for long.", again},
	{jobs.CodeCountMismatch, "The rows that were written are not those that were counted.", again},
	{jobs.CodeSnapshotTooOld, "The instant that was read is too long ago for the database to go on.", again},
	{jobs.CodePartsMissing, "Finished parts of the file are not in the storage any more.", again},
	{jobs.CodeStorageCorrupt, "What is in the storage is not what was written.", again},
	{jobs.CodeInterrupted, "Workers stopped too often while they were at it.", again},
	{jobs.CodeTooManyRows, "More rows than an export may have.", "Ask for less: a shorter window, or more filters."},
	{jobs.CodeTooManyBytes, "A larger file than an export may have.", "Ask for less: fewer columns, a shorter window, or `compression=gzip`."},
	{jobs.CodeDatasetChanged, "What the export was to hold was changed since it was asked for.", "Ask again, and get it as it is now."},
	{jobs.CodeInvalidJob, "What was asked for makes no sense to the worker.", "Ask again; if it comes back, tell the operator."},
	{jobs.CodeFileLost, "The file was there, and is gone.", "Ask again."},
	{jobs.CodeMissingIndex, "The database has no index for these filters.", operator},
	{jobs.CodeSourceDenied, "The service may not read the database.", operator},
	{jobs.CodeStorageDenied, "The service may not write to the storage.", operator},
	{jobs.CodeStorageQuota, "The storage is full.", operator},
	{jobs.CodeBucketMissing, "The storage is not there.", operator},
	{jobs.CodeInternal, "Something that has no code of its own.", "Ask again; if it comes back, tell the operator the `jobId`."},
}

// span is a duration as people write it: "5 s", "75 h 35 min 5 s".
func span(d time.Duration) string {
	var parts []string
	for _, u := range []struct {
		of   time.Duration
		name string
	}{{time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}} {
		if n := d / u.of; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, u.name))
			d -= n * u.of
		}
	}
	if parts == nil {
		return "0 s"
	}
	return strings.Join(parts, " ")
}

func kib(bytes int64) string { return fmt.Sprintf("%d KiB", bytes>>10) }

func indented(v any) (string, error) {
	text, err := json.MarshalIndent(v, "", "  ")
	return string(text), err
}

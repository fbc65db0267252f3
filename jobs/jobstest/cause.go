package jobstest

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"exportd/jobs"
)

var causeCases = []storeCase{
	{"remembers causes, and lists jobs by them", jobs.Limits{}, causes},
	{"finds jobs by reading them", jobs.Limits{}, searched},
	{"counts the cases of a cause", jobs.Limits{}, countedCases},
	{"knows why callbacks were given up", jobs.Limits{}, callbackCauses},
	{"writes down what operators do, with it", jobs.Limits{}, auditLog},
	{"tells how the jobs of a batch are", jobs.Limits{}, batchOutcome},
	{"a cause whose time is over is met anew", jobs.Limits{}, forgottenCause},
	{"a cause that is met after a look is not mended", jobs.Limits{}, metAfterProbe},
	{"a canary runs one job, then ten, then the rest, and stops where one fails again", jobs.Limits{}, canary},
	{"tells how the callbacks of a batch are", jobs.Limits{}, callbackBatchOutcome},
	{"a batch sends a callback again once, and passes over what it is not about", jobs.Limits{}, redeliveredOnce},
	{"a canary waits for its last job", jobs.Limits{}, waitingCanary},
	{"a batch goes through a list of jobs", jobs.Limits{}, listedBatch},
	{"a batch that is paused stands still", jobs.Limits{}, pausedBatch},
}

// lacking fails a job for want of an index, and gives the cause.
func (b *bench) lacking(t *testing.T, id, index string) string {
	t.Helper()
	l := b.claim(t, id)
	j := b.update(t, id, func(tx *jobs.Tx) error {
		return tx.EndAttempt(l, jobs.Fail(jobs.CodeMissingIndex, jobs.Permanent, "an index is missing", "make it: https://x.example/"+index+".", nil).About("index "+index))
	})
	return j.Error.Cause().ID()
}

func causes(t *testing.T, b *bench) {
	begin := b.Now()
	one, two, other := b.job(t, "org", 1), b.job(t, "org", 2), b.job(t, "org2", 3)
	cause, same := b.lacking(t, one, "a"), b.lacking(t, two, "a")
	b.Pass(2 * jobs.CauseAgain)
	different := b.lacking(t, other, "b")
	if cause != same || cause == different || jobs.CauseCode(cause) != jobs.CodeMissingIndex {
		t.Errorf("causes %s, %s and %s, want two and a third", cause, same, different)
	}
	b.Pass(2 * jobs.CauseAgain)
	third := b.job(t, "org2", 4)
	b.lacking(t, third, "a")
	page, next, err := b.Causes(t.Context(), begin, 1, "")
	if err != nil || len(page) != 1 || next == "" || page[0].ID() != cause {
		t.Fatalf("the first cause is %+v, %q, %v, want %s", page, next, err, cause)
	}
	if n := page[0]; n.What != "index a" || n.Message != "an index is missing" || n.Link() != "https://x.example/a" || n.FirstAt.Before(begin) || !n.FirstAt.Before(begin.Add(time.Minute)) ||
		n.LastAt.Before(begin.Add(4*jobs.CauseAgain)) || n.Fixed() {
		t.Errorf("the cause is %+v", n)
	}
	page, next, err = b.Causes(t.Context(), begin, 1, next)
	if err != nil || len(page) != 1 || page[0].ID() != different || next != "" {
		t.Errorf("the second cause is %+v, %q, %v, want %s", page, next, err, different)
	}
	if page, _, err := b.Causes(t.Context(), b.Now().Add(time.Hour), 10, ""); err != nil || len(page) > 0 {
		t.Errorf("later there are %v, %v", page, err)
	}
	if _, _, err := b.Causes(t.Context(), begin, 1, "no token"); !errors.Is(err, jobs.ErrInvalid) {
		t.Errorf("a token that is none = %v, want ErrInvalid", err)
	}
	for _, id := range []string{"MISSING_INDEX-000000000000", "../x", ""} {
		if _, err := b.Cause(t.Context(), id); !errors.Is(err, jobs.ErrNotFound) {
			t.Errorf("Cause(%q) = %v, want ErrNotFound", id, err)
		}
	}
	if err := b.NoteProbe(t.Context(), cause, jobs.Probe{At: b.Now().Add(time.Second), Verdict: jobs.ProbeFixed, Says: "it is there"}); err != nil {
		t.Error(err)
	}
	if n, err := b.Cause(t.Context(), cause); err != nil || !n.Fixed() || n.Probe.Says != "it is there" {
		t.Errorf("after a look the cause is %+v, %v", n, err)
	}
	got := b.pages(t, jobs.List{Cause: cause, PageSize: 1})
	slices.Sort(got)
	want := []string{one, two, third}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("of the cause there are %v, want %v", got, want)
	}
}

// forgottenCause: of a cause whose time is over, nothing is known when it is met again.
func forgottenCause(t *testing.T, b *bench) {
	cause := b.lacking(t, b.job(t, "org", 1), "a")
	if err := b.NoteProbe(t.Context(), cause, jobs.Probe{At: b.Now(), Verdict: jobs.ProbeNotFixed, Says: "it is not there"}); err != nil {
		t.Fatal(err)
	}
	b.Pass(49 * time.Hour)
	if n, err := b.Cause(t.Context(), cause); !errors.Is(err, jobs.ErrNotFound) {
		t.Errorf("after its time the cause is %+v, %v, want ErrNotFound", n, err)
	}
	again := b.Now()
	b.lacking(t, b.job(t, "org", 2), "a")
	if n, err := b.Cause(t.Context(), cause); err != nil || n.FirstAt.Before(again.Truncate(time.Microsecond)) || n.Probe != nil {
		t.Errorf("met again the cause is %+v, %v, want one of now that nobody has looked at", n, err)
	}
}

// metAfterProbe: a look has found a cause mended, and the process that noted it a moment before meets it
// again.
func metAfterProbe(t *testing.T, b *bench) {
	cause := b.lacking(t, b.job(t, "org", 1), "a")
	for month := range 2 { // also when it has noted that, and somebody looks again
		b.Pass(time.Second)
		looked := b.Now()
		if err := b.NoteProbe(t.Context(), cause, jobs.Probe{At: looked, Verdict: jobs.ProbeFixed, Says: "it is there"}); err != nil {
			t.Fatal(err)
		}
		if n, err := b.Cause(t.Context(), cause); err != nil || !n.Fixed() {
			t.Errorf("after a look the cause is %+v, %v, want it fixed", n, err)
		}
		b.Pass(time.Second)
		b.lacking(t, b.job(t, "org", month+2), "a")
		if n, err := b.Cause(t.Context(), cause); err != nil || n.Fixed() || !n.LastAt.After(looked) {
			t.Errorf("met since then the cause is %+v, %v, want it not fixed", n, err)
		}
	}
}

func countedCases(t *testing.T, b *bench) {
	begin := b.Now()
	var cause string
	for month := range 3 {
		cause = b.lacking(t, b.job(t, "org", month+1), "a")
	}
	last := b.job(t, "org2", 5)
	b.lacking(t, last, "a")
	b.lacking(t, b.job(t, "org2", 6), "b")
	check := func(q jobs.CauseQuery, count int64, latest string) {
		t.Helper()
		q.ID = cause
		if q.To.IsZero() {
			q.To = b.Now().Add(time.Second)
		}
		got, err := b.CauseCases(t.Context(), q)
		if err != nil || got.Count != count || len(got.Latest) != int(min(count, jobs.CasesShown)) || latest != "" && got.Latest[0].JobID != latest {
			t.Errorf("cases of %+v = %+v, %v, want %d, first %s", q, got, err, count, latest)
		}
	}
	check(jobs.CauseQuery{From: begin}, 4, last)
	check(jobs.CauseQuery{From: begin, OrgID: "org"}, 3, "")
	check(jobs.CauseQuery{From: begin, OrgID: "org2", Kind: "vip-users"}, 1, last)
	check(jobs.CauseQuery{From: begin, Kind: "vip-messages"}, 0, "")
	check(jobs.CauseQuery{From: b.Now().Add(time.Second), To: b.Now().Add(time.Hour)}, 0, "")
	check(jobs.CauseQuery{From: begin.Add(-time.Hour), To: begin}, 0, "")
	b.update(t, last, func(tx *jobs.Tx) error { _, err := tx.Rerun(jobs.RerunFresh, "test"); return err })
	check(jobs.CauseQuery{From: begin}, 3, "")
	b.update(t, b.pages(t, jobs.List{Cause: cause, PageSize: 5})[0], remove) // deleted by its owner
	check(jobs.CauseQuery{From: begin}, 2, "")
	for month := range jobs.CasesShown {
		b.lacking(t, b.job(t, "many", month%12+1), "a")
	}
	check(jobs.CauseQuery{From: begin}, 2+jobs.CasesShown, "")
	inPart := b.job(t, "org", 7)
	b.plan(t, inPart, 3)
	j := b.update(t, inPart, func(tx *jobs.Tx) error {
		_, l, err := tx.ClaimPart(tx.Job.PlanEpoch, 0, "w")
		if err == nil {
			_, err = tx.EndPartAttempt(tx.Job.PlanEpoch, 0, l, jobs.Fail(jobs.CodeInternal, jobs.Permanent, "it broke", "", nil))
		}
		return err
	})
	got, err := b.CauseCases(t.Context(), jobs.CauseQuery{ID: j.Error.CauseID, From: begin, To: b.Now().Add(time.Second)})
	if err != nil || len(got.Latest) != 1 || got.Latest[0].Part == nil || *got.Latest[0].Part != 0 {
		t.Errorf("the case of a job that failed in part 0 is %+v, %v", got, err)
	}
	if got, err := b.CauseCases(t.Context(), jobs.CauseQuery{ID: cause, From: begin, To: b.Now().Add(time.Second)}); err != nil || got.Latest[0].Part != nil {
		t.Errorf("the case of a job that failed as a whole is %+v, %v", got.Latest, err)
	}
}

// givenUp ends the callback of a job's end undelivered, and gives it as it then is.
func (b *bench) givenUp(t *testing.T, org string, status int) *jobs.Callback {
	t.Helper()
	id := b.job(t, org, 1)
	b.update(t, id, cancel)
	found, err := b.Callbacks(t.Context(), id)
	if err != nil || len(found) != 1 {
		t.Fatalf("callbacks of a canceled job: %v, %v", found, err)
	}
	var l jobs.Lease
	for _, fn := range []func(*jobs.CallbackTx) error{
		func(tx *jobs.CallbackTx) (err error) { l, err = tx.Claim("w"); return err },
		func(tx *jobs.CallbackTx) error {
			return tx.Record(l, jobs.CallbackResult{State: jobs.CallbackExhausted, Attempt: jobs.CallbackAttempt{At: tx.Now, Class: "http_error", Status: status}})
		},
	} {
		b.Pass(time.Millisecond)
		if found[0], err = b.UpdateCallback(t.Context(), found[0].ID, "test", fn); err != nil {
			t.Fatal(err)
		}
	}
	return found[0]
}

func callbackCauses(t *testing.T, b *bench) {
	begin := b.Now()
	one, two, other := b.givenUp(t, "org", 503), b.givenUp(t, "org2", 503), b.givenUp(t, "org", 404)
	if one.CauseID == "" || one.CauseID != two.CauseID || one.CauseID == other.CauseID {
		t.Errorf("causes of callbacks are %q, %q and %q, want two and a third", one.CauseID, two.CauseID, other.CauseID)
	}
	n, err := b.Cause(t.Context(), one.CauseID)
	if err != nil || n.What != "https://hooks.example answers 503" || n.Code != jobs.CauseExhausted {
		t.Errorf("the cause is %+v, %v", n, err)
	}
	count := func() int64 {
		t.Helper()
		got, err := b.CauseCases(t.Context(), jobs.CauseQuery{ID: one.CauseID, From: begin, To: b.Now().Add(time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		return got.Count
	}
	if got := count(); got != 2 {
		t.Errorf("%d callbacks have the cause, want 2", got)
	}
	page, _, err := b.ListCallbacks(t.Context(), jobs.CallbackList{State: jobs.CallbackExhausted, Cause: one.CauseID})
	if err != nil || len(page) != 2 {
		t.Errorf("of the cause %d callbacks are listed, %v, want 2", len(page), err)
	}
	again, err := b.UpdateCallback(t.Context(), one.ID, "test", func(tx *jobs.CallbackTx) error { return tx.Redeliver("r") })
	if err != nil || again.CauseID != "" || count() != 1 {
		t.Errorf("one that is on its way again has the cause %q, %v; %d have it, want 1", again.CauseID, err, count())
	}
}

func auditLog(t *testing.T, b *bench) {
	begin := b.Now()
	id := b.job(t, "org", 1)
	b.update(t, id, func(tx *jobs.Tx) error { tx.Audited(jobs.AuditCancelJob, "not wanted"); return tx.Cancel("not wanted") })
	if _, err := b.Update(t.Context(), id, "test", func(tx *jobs.Tx) error { tx.Audited(jobs.AuditCancelJob, "again"); return errTest }); !errors.Is(err, errTest) {
		t.Error(err)
	}
	b.Pass(time.Second)
	batch, err := b.CreateBatch(t.Context(), jobs.BatchRequest{JobIDs: []string{id}, Mode: jobs.RerunFresh, Actor: "op", Reason: "r", MaxPerSecond: 5})
	if err != nil {
		t.Fatal(err)
	}
	b.Pass(time.Second)
	if _, err := b.UpdateBatch(t.Context(), batch.ID, func(tx *jobs.BatchTx) error {
		tx.Audited(jobs.AuditPauseBatch, "op", "wait")
		return tx.Pause()
	}); err != nil {
		t.Fatal(err)
	}
	b.Pass(time.Second)
	if err := b.SetPaused(t.Context(), jobs.QueueExports, true, "op", "deploy"); err != nil {
		t.Fatal(err)
	}
	b.Pass(time.Second)
	if _, err := b.UnsuspendReceiver(t.Context(), "org", "https://hooks.example", "op2", "back"); err != nil {
		t.Fatal(err)
	}
	list := func(l jobs.AuditList) (got []string) {
		t.Helper()
		for {
			page, next, err := b.AuditEntries(t.Context(), l)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page {
				got = append(got, strings.Join([]string{string(e.Action), e.Actor, e.Target, e.Reason, strconv.FormatInt(e.Count, 10)}, "|"))
			}
			if l.PageToken = next; next == "" {
				return got
			}
		}
	}
	all := []string{
		"receiver.resume|op2|org https://hooks.example|back|0", "queue.pause|op|exports|deploy|1", "batch.pause|op|" + batch.ID + "|wait|-1",
		"batch.create|op|" + batch.ID + "|r|-1", "job.cancel|test|" + id + "|not wanted|1",
	}
	for _, c := range []struct {
		list jobs.AuditList
		want []string
	}{
		{jobs.AuditList{PageSize: 2}, all}, {jobs.AuditList{Actor: "op2"}, all[:1]}, {jobs.AuditList{Action: jobs.AuditPauseQueue, Actor: "op"}, all[1:2]},
		{jobs.AuditList{Target: batch.ID, PageSize: 1}, all[2:4]}, {jobs.AuditList{Since: begin, Until: begin.Add(500 * time.Millisecond)}, all[4:]}, {jobs.AuditList{Since: b.Now().Add(time.Second)}, nil},
	} {
		if got := list(c.list); !slices.Equal(got, c.want) {
			t.Errorf("%+v lists %q, want %q", c.list, got, c.want)
		}
	}
	if _, _, err := b.AuditEntries(t.Context(), jobs.AuditList{PageToken: "none"}); !errors.Is(err, jobs.ErrInvalid) {
		t.Errorf("a token that is none = %v, want ErrInvalid", err)
	}
}

// causeBatch makes a batch of a cause.
func (b *bench) causeBatch(t *testing.T, cause string) *jobs.Batch {
	t.Helper()
	made, err := b.CreateBatch(t.Context(), jobs.BatchRequest{Filter: jobs.BatchFilter{State: jobs.Failed, ErrorCode: jobs.CauseCode(cause), Cause: cause},
		Mode: jobs.RerunFresh, Actor: "test", Reason: "r", MaxPerSecond: 5, Canary: true})
	if err != nil {
		t.Fatal(err)
	}
	if made.MaxPerSecond != 0 || made.Rate() != 5 {
		t.Errorf("an older build would carry the batch out at %d a second", made.MaxPerSecond)
	}
	return made
}

func (b *bench) rerunIn(t *testing.T, batch *jobs.Batch, id string) {
	t.Helper()
	b.update(t, id, func(tx *jobs.Tx) error { return tx.RerunIn(batch) })
}

func batchOutcome(t *testing.T, b *bench) {
	ids := []string{b.job(t, "org", 1), b.job(t, "org", 2), b.job(t, "org", 3)}
	var cause string
	for _, id := range ids {
		cause = b.lacking(t, id, "a")
	}
	batch := b.causeBatch(t, cause)
	check := func(want jobs.BatchOutcome) {
		t.Helper()
		if got, err := b.BatchOutcome(t.Context(), batch); err != nil || got != want {
			t.Errorf("outcome %+v, %v, want %+v", got, err, want)
		}
	}
	check(jobs.BatchOutcome{})
	b.rerunIn(t, batch, ids[0])
	b.rerunIn(t, batch, ids[1])
	check(jobs.BatchOutcome{Rerun: 2, Live: 2})
	b.succeed(t, ids[0])
	check(jobs.BatchOutcome{Rerun: 2, Live: 1})
	b.lacking(t, ids[1], "another")
	check(jobs.BatchOutcome{Rerun: 2})
	b.rerunIn(t, batch, ids[2])
	b.lacking(t, ids[2], "a")
	check(jobs.BatchOutcome{Rerun: 3, Again: jobs.JobFailedAgain(ids[2])})
	other := b.causeBatch(t, cause)
	b.rerunIn(t, other, ids[2])
	b.lacking(t, ids[2], "a")
	if _, err := b.Update(t.Context(), ids[2], "test", func(tx *jobs.Tx) error { return tx.RerunIn(batch) }); !errors.Is(err, jobs.ErrTransition) {
		t.Errorf("the batch before runs a job again that has failed since: %v", err)
	}
}

func listedBatch(t *testing.T, b *bench) {
	ids := []string{b.job(t, "org", 1), b.job(t, "org", 2), b.job(t, "org", 3)}
	batch, err := b.CreateBatch(t.Context(), jobs.BatchRequest{JobIDs: ids, Mode: jobs.RerunFresh, Actor: "test", Reason: "r", MaxPerSecond: 5})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for {
		some, next := batch.Next(2)
		got = append(got, some...)
		batch, err = b.UpdateBatch(t.Context(), batch.ID, func(tx *jobs.BatchTx) error { return tx.Advance(tx.Batch.Cursor, len(some), nil, next) })
		if err != nil {
			t.Fatal(err)
		}
		if batch, _, err = b.Batch(t.Context(), batch.ID); err != nil || batch.Damage != "" {
			t.Fatalf("the batch is %+v, %v", batch, err)
		}
		if next == "" {
			break
		}
	}
	if !slices.Equal(got, ids) || batch.FinishedAt.IsZero() || batch.Matched != 3 {
		t.Errorf("it went through %v, want %v; it is %+v", got, ids, batch)
	}
}

func pausedBatch(t *testing.T, b *bench) {
	batch, err := b.CreateBatch(t.Context(), jobs.BatchRequest{Mode: jobs.RerunFresh, Actor: "test", Reason: "r", MaxPerSecond: 5})
	if err != nil {
		t.Fatal(err)
	}
	change := func(fn func(*jobs.BatchTx) error) *jobs.Batch { t.Helper(); return b.changeBatch(t, batch.ID, fn) }
	due := func() int {
		t.Helper()
		found, err := b.DueBatches(t.Context(), b.Now(), 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	change((*jobs.BatchTx).Pause)
	b.Pass(24 * time.Hour)
	if n := due(); n != 0 {
		t.Errorf("%d batches are due, it is paused", n)
	}
	if _, ids, _, err := b.Suspects(t.Context(), jobs.AuditBatches, ""); err != nil || len(ids) > 0 {
		t.Errorf("a paused batch is suspect: %v, %v", ids, err)
	}
	over := false
	change(func(tx *jobs.BatchTx) (err error) { over, err = tx.Claim(); return err })
	if !over || due() != 0 {
		t.Errorf("a paused batch can be claimed: %t", !over)
	}
	if _, err := b.UpdateBatch(t.Context(), batch.ID, func(tx *jobs.BatchTx) error { return tx.Advance("", 1, nil, "") }); !errors.Is(err, jobs.ErrLeaseLost) {
		t.Errorf("who worked on it when it was paused may advance it: %v", err)
	}
	if after := change((*jobs.BatchTx).Resume); due() != 1 || after.Rate() != 5 {
		t.Errorf("after resume %d are due, at %d a second", due(), after.Rate())
	}
	change(func(tx *jobs.BatchTx) error { return tx.Stop("canceled") })
	for name, fn := range map[string]func(*jobs.BatchTx) error{"pause": (*jobs.BatchTx).Pause, "resume": (*jobs.BatchTx).Resume, "cancel": func(tx *jobs.BatchTx) error { return tx.Stop("again") }} {
		if _, err := b.UpdateBatch(t.Context(), batch.ID, fn); !errors.Is(err, jobs.ErrTransition) {
			t.Errorf("%s of an ended batch = %v, want ErrTransition", name, err)
		}
	}
}

func searched(t *testing.T, b *bench) {
	s := request("org", 1)
	s.Fresh, s.RequestID, s.CallbackURL = true, "req-1", "https://Hooks.example:8443/x"
	one := b.submit(t, s).Job.ID
	other, failed := b.job(t, "org", 2), b.job(t, "org", 3)
	b.lacking(t, failed, "a")
	for _, c := range []struct {
		search jobs.Search
		want   []string
	}{
		{jobs.Search{}, []string{failed, other, one}}, {jobs.Search{RequestID: "req-1"}, []string{one}}, {jobs.Search{CallbackHost: "hooks.EXAMPLE"}, []string{failed, other, one}},
		{jobs.Search{CallbackHost: "hooks.example:8443"}, []string{one}}, {jobs.Search{Text: "INDEX A"}, []string{failed}}, {jobs.Search{Text: "index b"}, nil},
		{jobs.Search{JobID: other}, []string{other}}, {jobs.Search{JobID: other, MinAttempts: 1}, nil}, {jobs.Search{JobID: "none"}, nil}, {jobs.Search{RerunOf: one}, nil},
		{jobs.Search{MinAttempts: 1}, []string{failed}}, {jobs.Search{BatchID: "none"}, nil}, {jobs.Search{Label: "vip"}, nil}, {jobs.Search{Slow: true}, nil},
	} {
		got := b.pages(t, jobs.List{OrgID: "org", Search: c.search, PageSize: 1})
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v finds %v, want %v", c.search, got, c.want)
		}
	}
}

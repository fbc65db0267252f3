package api

import (
	"net/url"
	"time"

	"exportd/internal/tracing"
	"exportd/internal/vip"
	"exportd/jobs"
)

// opsJob is a job as operators see it: all about the work, and no way to the data in it. There is no link to
// the file, and of callback URLs no query, which may hold a token.
type opsJob struct {
	jobView
	OrgID         string     `json:"orgId"`
	KeyID         string     `json:"keyId"`
	RequestID     string     `json:"requestId"`
	TraceID       *string    `json:"traceId"` // of the last run
	Phase         jobs.Phase `json:"phase"`
	Epoch         int64      `json:"epoch"`
	Owner         *string    `json:"owner"` // worker that holds the job's lease
	LeaseUntil    *time.Time `json:"leaseUntil"`
	WakeAt        *time.Time `json:"wakeAt"`
	NotBefore     *time.Time `json:"notBefore"`
	Interruptions int        `json:"interruptions"`
	Remedy        *string    `json:"remedy"`
	CauseID       *string    `json:"causeId"` // of a failed job
	What          *string    `json:"what"`    // as jobs.Cause.What
	FailedPart    *int       `json:"failedPart"`
	DeletedAt     *time.Time `json:"deletedAt"`
	RerunOf       *string    `json:"rerunOf"`
	Spent         spentView  `json:"spent"`
	ExpectedMs    int64      `json:"expectedMs"`
	Slow          bool       `json:"slow"`
}

// spentView is where time went, in milliseconds.
type spentView struct {
	Wait     int64 `json:"waitMs"`
	PartWait int64 `json:"partWaitMs"`
	Count    int64 `json:"countMs"`
	Plan     int64 `json:"planMs"`
	Scan     int64 `json:"scanMs"`
	Encode   int64 `json:"encodeMs"`
	Yield    int64 `json:"yieldMs"`
	Upload   int64 `json:"uploadMs"`
	Compose  int64 `json:"composeMs"`
}

func spentOf(s jobs.Spent) spentView {
	ms := func(d time.Duration) int64 { return d.Round(time.Millisecond).Milliseconds() }
	return spentView{ms(s.Wait), ms(s.PartWait), ms(s.Count), ms(s.Plan), ms(s.Scan), ms(s.Encode), ms(s.Yield), ms(s.Upload), ms(s.Compose)}
}

func opsViewOf(j *jobs.Job) opsJob {
	v := opsJob{
		Spent: spentOf(j.SpentWith(nil)), ExpectedMs: j.Expected().Milliseconds(), Slow: j.Slow(),
		jobView: viewOf(j), OrgID: j.OrgID, KeyID: j.KeyID, RequestID: j.RequestID, TraceID: textOrNil(tracing.TraceID(j.Trace)), Phase: j.Phase, Epoch: j.Epoch,
		LeaseUntil: timeOrNil(j.Lease.Until), WakeAt: timeOrNil(j.WakeAt), NotBefore: timeOrNil(j.NotBefore),
		RerunOf: textOrNil(j.RerunOf), Interruptions: j.Interruptions, DeletedAt: timeOrNil(j.DeletedAt), Owner: textOrNil(j.Lease.Owner),
	}
	if e := j.Error; e != nil {
		v.Remedy, v.CauseID, v.What, v.FailedPart = textOrNil(e.Remedy), textOrNil(e.CauseID), textOrNil(e.What), e.Part
	}
	if j.CallbackURL != "" {
		v.Callback = &callbackView{URL: withoutQuery(j.CallbackURL)}
	}
	return v
}

// timelineEntry is a line of a job's timeline.
type timelineEntry struct {
	At      time.Time      `json:"at"`
	Type    jobs.EventType `json:"type"`
	Actor   string         `json:"actor"`
	Attempt int            `json:"attempt"`
	Part    *int           `json:"part"`
	Code    *string        `json:"code"`
	Message *string        `json:"message"`
	Reason  *string        `json:"reason"`
}

func timelineOf(events []jobs.Event) []timelineEntry {
	out := make([]timelineEntry, len(events))
	for i, e := range events {
		out[i] = timelineEntry{
			At: e.At.UTC(), Type: e.Type, Actor: e.Actor, Attempt: e.Attempt,
			Code: textOrNil(string(e.Code)), Message: textOrNil(e.Message), Reason: textOrNil(e.Reason),
		}
		if e.Part >= 0 {
			out[i].Part = &e.Part
		}
	}
	return out
}

type partView struct {
	Index         int            `json:"index"`
	State         jobs.PartState `json:"state"`
	From          *string        `json:"from"` // in words; null is the job's own begin or end
	To            *string        `json:"to"`
	Rows          int64          `json:"rows"`
	RowsDone      int64          `json:"rowsDone"`
	SizeBytes     int64          `json:"sizeBytes"`
	Attempt       int            `json:"attempt"`
	Interruptions int            `json:"interruptions"`
	Owner         *string        `json:"owner"`
	LeaseUntil    *time.Time     `json:"leaseUntil"`
	NotBefore     *time.Time     `json:"notBefore"`
	Error         *errorView     `json:"error"`
	Spent         spentView      `json:"spent"`
}

// partDamaged is shown of a part whose record makes no sense.
const partDamaged jobs.PartState = "damaged"

// maxPartViews bounds the parts in an answer: at 50,000 rows each, 50 million rows.
const maxPartViews = 1000

func partsOf(parts []*jobs.Part) []partView {
	out := make([]partView, 0, min(len(parts), maxPartViews))
	for _, p := range parts {
		if len(out) == maxPartViews {
			break
		}
		if p.Damage != "" { // nothing in it is to be believed
			out = append(out, partView{Index: len(out), State: partDamaged, Error: &errorView{Code: jobs.CodeInvalidJob, Message: p.Damage}})
			continue
		}
		v := partView{
			Index: p.Index, State: p.State, From: placeOf(p.From), To: placeOf(p.To), Rows: p.Rows, RowsDone: p.RowsDone, SizeBytes: p.Size, Attempt: p.Attempt, Interruptions: p.Interruptions,
			Owner: textOrNil(p.Lease.Owner), LeaseUntil: timeOrNil(p.Lease.Until), NotBefore: timeOrNil(p.NotBefore),
			Spent: spentOf(p.Total()),
		}
		if p.State == jobs.PartDone {
			v.RowsDone = p.Rows
		}
		if e := p.LastError; e != nil {
			v.Error = &errorView{e.Code, e.Message, e.Retryable}
		}
		out = append(out, v)
	}
	return out
}

// placeOf is where a part begins or ends as operators read it.
func placeOf(position string) *string {
	p, err := vip.ParsePosition(position)
	if err != nil {
		return nil
	}
	return textOrNil(p.Words())
}

type deliveryView struct {
	ID            string                 `json:"id"` // the webhook-id
	URL           string                 `json:"url"`
	Event         string                 `json:"event"`
	State         jobs.CallbackState     `json:"state"`
	CreatedAt     time.Time              `json:"createdAt"`
	Attempts      int                    `json:"attempts"`
	NextAttemptAt *time.Time             `json:"nextAttemptAt"`
	Tries         []jobs.CallbackAttempt `json:"tries"`
}

func deliveriesOf(callbacks []*jobs.Callback) []deliveryView {
	out := make([]deliveryView, len(callbacks))
	for i, cb := range callbacks {
		out[i] = deliveryView{
			ID: cb.ID, URL: withoutQuery(cb.URL), Event: cb.Event, State: cb.State, CreatedAt: cb.CreatedAt.UTC(),
			Attempts: cb.Attempt, Tries: orEmpty(cb.Attempts),
		}
		if cb.State == jobs.CallbackPending {
			out[i].NextAttemptAt = timeOrNil(cb.WakeAt)
		}
	}
	return out
}

// withoutQuery is how a callback URL is shown, to everybody: its query may hold a token, and the key that
// gave it knows that anyway. Other keys of its org must not learn it.
func withoutQuery(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	u.RawQuery, u.ForceQuery, u.User, u.Fragment = "", false, nil, ""
	return u.String()
}

func textOrNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

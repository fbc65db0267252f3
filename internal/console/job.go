package console

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"exportd/api/client"
	"exportd/internal/timeline"
)

// jobPage is what a job's page shows.
type jobPage struct {
	client.OpsJobDetail
	Failed   *client.Part // the part that ended it, if it is among those that are told of
	Params   []param
	Spent    []step
	Grid     grid
	Timeline []happened
	Logs     string // where they are; "" for no link
	Trace    string
	Links    *linksCard // nil where there is no file
	// May is what can be done with the job in its state.
	MayRerun, MayFresh, MayChange, MayCancel, MayRedeliver, MayDownload bool
}

// param is a parameter of the request, as the API tells it.
type param struct{ Name, Value string }

// step is where time went, with where its stretch of a bar begins and how long it is, in percent of all.
type step struct {
	Name, Class string
	Ms          int64
	X, W        string
}

// grid is a picture of the parts: a square for each, in rows.
type grid struct {
	Width, Height int
	Cells         []gridCell
	Counts        []counted
}

type gridCell struct{ X, Y, Class, Title string }

// happened is a line of the timeline: one entry, or what has happened to parts of the same kind between two
// lines about the job.
type happened struct {
	timeline.Group[client.TimelineEntry]
}

// Range names the parts of a line, as 0–3, 7.
func (h happened) Range() string { return timeline.Ranges(h.Parts, "–") }

// Took is from the first to the last.
func (h happened) Took() string { return span(h.Last().At.Sub(h.First().At)) }

// Entries are those that are shown one by one.
func (h happened) Entries() []client.TimelineEntry { return h.Lines[:min(h.Count(), entriesShown)] }

const (
	// jobEvery is how often an open job is looked at while it is under way, endedEvery once it has ended and
	// its callback goes on.
	jobEvery, endedEvery = 3 * time.Second, 15 * time.Second
	// partEvery is added for each part, as all are read: so an open job costs at most 20 reads a second.
	partEvery = 50 * time.Millisecond
	// entriesShown bounds the lines in one fold.
	entriesShown = 200
)

func refusal(err error) (*client.Error, bool) { return errors.AsType[*client.Error](err) }

// passing reports whether a refusal says nothing of what was asked for: the same will be answered later.
func passing(refused *client.Error) bool {
	return refused.Status >= http.StatusInternalServerError || refused.Status == http.StatusTooManyRequests
}

// pageOfJob is where a job is shown.
func pageOfJob(id string) string { return home + "/jobs/" + url.PathEscape(id) }

func (c *Console) job(ctx context.Context, who *principal, r *http.Request) (view, error) {
	id := r.PathValue("id")
	answer, err := c.api.OpsGetJobWithResponse(ctx, id)
	if err != nil {
		return view{}, err
	}
	d := answer.JSON200
	p := jobPage{OpsJobDetail: *d, Spent: stepsOf(d.Job.Spent), Grid: gridOf(d.Parts), Timeline: folded(d.Timeline)}
	if index := d.Job.FailedPart; index != nil {
		if i := slices.IndexFunc(d.Parts, func(p client.Part) bool { return p.Index == *index }); i >= 0 {
			p.Failed = &d.Parts[i]
		}
	}
	p.Params = paramsOf(members(answer.Body, "job", "params"))
	p.Logs, p.Trace = linkOf(c.logsURL, &d.Job), linkOf(c.traceURL, &d.Job)
	ended := d.Job.FinishedAt != nil
	if who.mayAct() && d.Job.DeletedAt == nil {
		p.MayCancel, p.MayChange = !ended, true
		p.MayRerun = ended && d.Job.State != client.StateSucceeded
		p.MayFresh = d.Job.State == client.StateSucceeded
		p.MayRedeliver = len(d.Callbacks) > 0
	}
	if d.Job.State == client.StateSucceeded || d.Job.State == client.StateExpired {
		if p.Links, err = c.linksOf(ctx, &d.Job); err != nil {
			return view{}, err
		}
	}
	p.MayDownload = d.Job.State == client.StateSucceeded && who.mayDownload(d.Job.OrgID)
	v := view{name: "job", title: "Job " + d.Job.JobID, data: p, live: !ended, every: jobEvery + time.Duration(len(d.Parts))*partEvery}
	if ended && slices.ContainsFunc(d.Callbacks, func(cb client.Delivery) bool { return cb.State == client.CallbackStatePending }) {
		v.live, v.every = true, max(v.every, endedEvery)
	}
	return v, nil
}

// linkOf fills in a link what a job has; "" where it lacks something that the link needs.
func linkOf(link string, j *client.OpsJob) string {
	for name, v := range map[string]string{"{jobId}": j.JobID, "{requestId}": j.RequestID, "{traceId}": text(j.TraceID)} {
		if strings.Contains(link, name) && (v == "" || v == none) {
			return ""
		}
		// A space is %20 wherever in a URL, + in a query alone.
		link = strings.ReplaceAll(link, name, strings.ReplaceAll(url.QueryEscape(v), "+", "%20"))
	}
	return link
}

func paramsOf(of map[string]any) (all []param) {
	for _, name := range slices.Sorted(maps.Keys(of)) {
		value := fmt.Sprint(of[name])
		if f, ok := of[name].(float64); ok { // 1000000, not 1e+06
			value = strconv.FormatFloat(f, 'f', -1, 64)
		}
		all = append(all, param{name, value})
	}
	return all
}

// stepsOf is where the time of a run went, as stretches of a bar.
func stepsOf(s client.Spent) []step {
	all := []step{
		{Name: "waiting for a slot or a place", Class: "s1", Ms: s.WaitMs}, {Name: "parts waiting", Class: "s2", Ms: s.PartWaitMs},
		{Name: "counting", Class: "s3", Ms: s.CountMs}, {Name: "planning", Class: "s4", Ms: s.PlanMs}, {Name: "reading rows", Class: "s5", Ms: s.ScanMs},
		{Name: "encoding", Class: "s6", Ms: s.EncodeMs}, {Name: "standing back for small exports", Class: "s7", Ms: s.YieldMs},
		{Name: "uploading", Class: "s8", Ms: s.UploadMs}, {Name: "composing", Class: "s9", Ms: s.ComposeMs},
	}
	all = slices.DeleteFunc(all, func(s step) bool { return s.Ms <= 0 })
	sum := int64(0)
	for _, s := range all {
		sum += s.Ms
	}
	at := 0.0
	for i := range all {
		w := 100 * float64(all[i].Ms) / float64(sum)
		all[i].X, all[i].W = px(at), strconv.FormatFloat(w, 'f', 2, 64)
		at += w
	}
	return all
}

// gridColumns is how many parts stand side by side, gridStep how far apart.
const gridColumns, gridStep = 50, 12

func gridOf(parts []client.Part) grid {
	g := grid{Width: min(len(parts), gridColumns) * gridStep, Height: (len(parts) + gridColumns - 1) / gridColumns * gridStep}
	counts := map[string]int64{}
	for i, p := range parts {
		class := string(p.State)
		switch {
		case p.State == client.PartStateDamaged, p.Error != nil && p.State != client.PartStateDone:
			class += " hurt"
		case p.Attempt > 1:
			class += " again"
		}
		counts[string(p.State)]++
		title := fmt.Sprintf("part %d: %s, %s of %s rows, attempt %d", p.Index, p.State, num(p.RowsDone), num(p.Rows), p.Attempt)
		if p.Error != nil {
			title += ", " + string(p.Error.Code)
		}
		g.Cells = append(g.Cells, gridCell{strconv.Itoa(i % gridColumns * gridStep), strconv.Itoa(i / gridColumns * gridStep), class, title})
	}
	g.Counts = largestFirst(counts)
	return g
}

// folded makes lines of a timeline.
func folded(entries []client.TimelineEntry) (all []happened) {
	part := func(e client.TimelineEntry) *int { return e.Part }
	alike := func(a, b client.TimelineEntry) bool {
		return a.Type == b.Type && a.Attempt == b.Attempt && same(a.Code, b.Code) && same(a.Message, b.Message)
	}
	for _, g := range timeline.Fold(entries, part, alike) {
		all = append(all, happened{g})
	}
	return all
}

func same(a, b *string) bool { return plain(a) == plain(b) }

// mayDownload: the file is for who may export or read in its org; a right to operate leads to no data.
func (p *principal) mayDownload(orgID string) bool {
	return p.key.Person == "" && p.key.OrgID == orgID && p.key.Has(readers...)
}

// download leads to the file, by way of the API's own route.
func (c *Console) download(w http.ResponseWriter, r *http.Request) {
	who, err := c.signedIn(r)
	if err != nil {
		c.turnAway(w, r, err)
		return
	}
	answer, err := c.api.DownloadJob(c.asking(r, who), r.PathValue("id"))
	if err != nil {
		c.fail(w, r, who, err)
		return
	}
	_ = answer.Body.Close() // empty
	to := answer.Header.Get("Location")
	if answer.StatusCode != http.StatusFound && answer.StatusCode != http.StatusSeeOther && answer.StatusCode != http.StatusTemporaryRedirect || to == "" {
		c.fail(w, r, who, errors.New("the API leads to no file"))
		return
	}
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}

package console

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"exportd/api/client"
	"exportd/internal/apikey"
)

// Whatever changes something is done in two steps: a page that says what it will touch and asks why, and its
// form. What is to be done, and to what, stands in the URL of both, so that what was shown is what is done.

// firstLooked is how many jobs are looked at before all that match are run again, so that the page is there
// at once whatever matches; whoever wants to know asks for a count, of up to 20,000 in some seconds.
const firstLooked = 500

// maxChosen bounds what is chosen one by one; more is chosen by a filter.
const maxChosen = 100

// verb is something that can be done.
type verb struct {
	Name, Title, Button string
	// to is what it is done to: jobs, queue, receiver, callbacks, links.
	to string
	// Modes has the form ask how a job runs again.
	Modes  bool
	Danger bool
}

var verbs = []verb{
	{Name: "rerun", Title: "Run again", Button: "Run again", to: "jobs", Modes: true},
	{Name: "rerun-with", Title: "Run again with other parameters", Button: "Run as a new job", to: "jobs"},
	{Name: "cancel", Title: "Cancel", Button: "Cancel now", to: "jobs", Danger: true},
	{Name: "redeliver", Title: "Deliver callbacks again", Button: "Deliver again", to: "jobs"},
	{Name: "redeliver-all", Title: "Deliver callbacks again", Button: "Deliver again", to: "callbacks"},
	{Name: "pause", Title: "Pause", Button: "Pause", to: "queue", Danger: true},
	{Name: "resume", Title: "Resume", Button: "Resume", to: "queue"},
	{Name: "rerun-cause", Title: "Run again what a cause has ended", Button: "Run again", to: "cause"},
	{Name: "probe", Title: "Look whether a cause is mended", Button: "Look now", to: "cause"},
	{Name: "pause-batch", Title: "Pause a batch", Button: "Pause", to: "batch"},
	{Name: "resume-batch", Title: "Resume a batch", Button: "Resume", to: "batch"},
	{Name: "cancel-batch", Title: "End a batch", Button: "End it", to: "batch", Danger: true},
	{Name: "revoke-links", Title: "Revoke links", Button: "Revoke", to: "links", Danger: true},
	{Name: "resume-receiver", Title: "Send to a receiver again", Button: "Send again", to: "receiver"},
}

// target is what an action is about, as the URL says it.
type target struct {
	verb
	IDs    []string   // jobs, chosen one by one
	All    bool       // all that Filter matches
	Filter url.Values // of jobs or callbacks
	Queue  string
	Org    string
	Origin string
	Cause  string
	Batch  string
	Link   string // of the one job in IDs; "" is all that it has
	Count  bool   // all that Filter matches are looked at first
}

// actNames are the parameters of an action's URL, by what it is done to, besides "do".
var actNames = map[string][]string{
	"jobs": append(namesOf(jobFields()), "all", "id", "mode", "count"), "callbacks": namesOf(callbackFields()), "queue": {"queue"}, "cause": {"cause", "count"}, "batch": {"batch"},
	"receiver": {"orgId", "origin"}, "links": {"id", "link", "orgId"},
}

func namesOf(fields []field) []string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	return names
}

func verbNamed(name string) verb {
	return verbs[slices.IndexFunc(verbs, func(v verb) bool { return v.Name == name })]
}

// targetOf reads an action's URL; false for one that is none.
func targetOf(q url.Values) (target, bool) {
	i := slices.IndexFunc(verbs, func(v verb) bool { return v.Name == q.Get("do") })
	if i < 0 {
		return target{}, false
	}
	// What is not understood of a filter must not make it one that matches more.
	for name, values := range q {
		if name != "do" && !slices.Contains(actNames[verbs[i].to], name) || slices.Contains(values, "") || name != "id" && len(values) > 1 {
			return target{}, false
		}
	}
	t := target{verb: verbs[i], Count: q.Get("count") == "all"}
	switch t.to {
	case "jobs":
		t.IDs, t.All, t.Filter = q["id"], q.Get("all") == "1", filterOf(q, jobFields())
		if t.Name == "rerun-with" {
			return t, !t.All && len(t.IDs) == 1
		}
		return t, t.All && t.Name == "rerun" || !t.All && len(t.IDs) > 0 && len(t.IDs) <= maxChosen
	case "callbacks":
		t.Filter = filterOf(q, callbackFields())
		return t, true
	case "queue":
		t.Queue = q.Get("queue")
		return t, t.Queue != ""
	case "cause":
		t.Cause = q.Get("cause")
		return t, t.Cause != ""
	case "batch":
		t.Batch = q.Get("batch")
		return t, t.Batch != ""
	case "links":
		t.IDs, t.Link, t.Org = q["id"], q.Get("link"), q.Get("orgId")
		return t, len(t.IDs) == 1 && t.Org == "" || len(t.IDs) == 0 && t.Org != "" && t.Link == ""
	}
	t.Org, t.Origin = q.Get("orgId"), q.Get("origin")
	return t, t.Org != "" && t.Origin != ""
}

// confirmPage says what an action will touch.
type confirmPage struct {
	target
	URL      template.URL // of the form
	Once     string       // names the form
	Jobs     []chosen
	Preview  *client.DryRun
	Counted  template.URL // where what matches is counted
	Matched  *client.Redelivered
	Of       *client.Cause
	Fault    string
	Reason   string
	Mode     string
	Filtered []param
	Back     string
	With     []withParam // of the job that runs again with other parameters
	Another  param       // one that it has not
}

// OfCallbacks reports whether the preview counts callbacks.
func (p confirmPage) OfCallbacks() bool { return p.Of != nil && p.Of.Of == client.CauseOfCallbacks }

// chosen is a job that was chosen, and why nothing will be done to it.
type chosen struct {
	Job   *client.OpsJob
	ID    string
	Not   string
	Fault string // what came of it
	Done  bool
}

func (c *Console) confirm(ctx context.Context, who *principal, r *http.Request) (view, error) {
	t, ok := targetOf(r.URL.Query())
	if !ok {
		why := "Nothing is chosen to do this to: go back and mark some jobs."
		if len(r.URL.Query()["id"]) > maxChosen {
			why = fmt.Sprintf("At most %d jobs are chosen one by one; choose all that a filter matches.", maxChosen)
		}
		return view{name: "error", title: "Nothing chosen", data: errorPage{Message: why}}, nil
	}
	p, err := c.preview(ctx, who, t, nil)
	if err != nil {
		return view{}, err
	}
	return view{name: "confirm", title: p.Title, data: p}, nil
}

// preview reads what an action would touch.
func (c *Console) preview(ctx context.Context, who *principal, t target, form url.Values) (confirmPage, error) {
	p := confirmPage{target: t, URL: template.URL(home + "/act?" + t.query().Encode()), Once: rand.Text(), Back: home + "/jobs"}
	if !who.mayAct() {
		return p, &client.Error{Status: http.StatusForbidden, Message: "you may look, and change nothing"}
	}
	for name := range t.Filter {
		p.Filtered = append(p.Filtered, param{name, t.Filter.Get(name)})
	}
	slices.SortFunc(p.Filtered, func(a, b param) int { return strings.Compare(a.Name, b.Name) })
	if !t.Count {
		p.Counted = p.URL + "&count=all"
	}
	var err error
	switch {
	case t.to == "jobs" && t.All:
		p.Back += "?" + t.Filter.Encode()
		p.Preview, err = c.dryRun(ctx, t)
	case t.Name == "rerun-with":
		p.Back = pageOfJob(t.IDs[0])
		var j *client.OpsJob
		if p.With, j, err = c.withParams(ctx, t, form); err == nil {
			p.Jobs, p.Another = []chosen{{ID: t.IDs[0], Job: j}}, param{form.Get(anotherName), form.Get(anotherValue)}
		}
	case t.to == "jobs":
		p.Jobs, err = c.chosen(ctx, t)
		if len(t.IDs) == 1 {
			p.Back = pageOfJob(t.IDs[0])
		}
	case t.to == "callbacks":
		p.Back = home + "/callbacks"
		var answer *client.OpsRedeliverCallbacksResponse
		if answer, err = c.api.OpsRedeliverCallbacksWithBodyWithResponse(ctx, asJSON, body(map[string]any{"filter": object(t.Filter), "reason": "preview", "dryRun": true})); err == nil {
			p.Matched = answer.JSON200
		}
	case t.to == "queue":
		p.Back = home
	case t.to == "cause":
		p.Back = home + "/causes/" + url.PathEscape(t.Cause)
		err = c.previewCause(ctx, &p)
	case t.to == "batch":
		p.Back = home + "/batches/" + url.PathEscape(t.Batch)
	case t.to == "links":
		p.Back = t.afterRevoking()
	default:
		p.Back = home + "/callbacks"
	}
	return p, err
}

// query is the URL's, made of what was understood of it.
func (t target) query() url.Values {
	q := cloned(t.Filter)
	q.Set("do", t.Name)
	if t.All {
		q.Set("all", "1")
	}
	if len(t.IDs) > 0 {
		q["id"] = t.IDs
	}
	for name, v := range map[string]string{"queue": t.Queue, "orgId": t.Org, "origin": t.Origin, "cause": t.Cause, "batch": t.Batch, "link": t.Link} {
		if v != "" {
			q.Set(name, v)
		}
	}
	return q
}

const asJSON = "application/json"

func body(fields map[string]any) io.Reader {
	raw, err := json.Marshal(fields)
	if err != nil {
		raw = nil // strings, booleans and numbers: there is nothing that cannot be
	}
	return bytes.NewReader(raw)
}

// object is a filter as the API takes it in a body.
func object(filter url.Values) map[string]string {
	o := map[string]string{}
	for name := range filter {
		o[name] = filter.Get(name)
	}
	return o
}

// preview is what the API is asked for to say what would be run again.
func (t target) preview() map[string]any {
	ask := map[string]any{"reason": "preview", "dryRun": true}
	if !t.Count {
		ask["maxJobs"] = firstLooked
	}
	return ask
}

func (c *Console) dryRun(ctx context.Context, t target) (*client.DryRun, error) {
	ask := t.preview()
	ask["filter"] = object(t.Filter)
	answer, err := c.api.OpsRerunJobsWithBodyWithResponse(ctx, asJSON, body(ask))
	if err != nil {
		return nil, err
	}
	return answer.JSON200, nil
}

// chosen reads the jobs that were chosen, and says to which of them nothing can be done.
func (c *Console) chosen(ctx context.Context, t target) ([]chosen, error) {
	all := make([]chosen, 0, len(t.IDs))
	for _, id := range t.IDs {
		answer, err := c.api.OpsGetJobWithResponse(ctx, id)
		if refused, ok := refusal(err); ok && refused.Status < http.StatusInternalServerError {
			all = append(all, chosen{ID: id, Not: refused.Message})
			continue
		}
		if err != nil {
			return nil, err
		}
		j := &answer.JSON200.Job
		ended := j.FinishedAt != nil
		one := chosen{ID: id, Job: j}
		switch {
		case j.DeletedAt != nil:
			one.Not = "it was deleted"
		case t.Name == "rerun" && !ended:
			one.Not = "it has not ended"
		case t.Name == "cancel" && ended:
			one.Not = "it has ended"
		case t.Name == "redeliver" && len(answer.JSON200.Callbacks) == 0:
			one.Not = "it has no callback"
		}
		all = append(all, one)
	}
	return all, nil
}

// act does what a form says.
func (c *Console) act(w http.ResponseWriter, r *http.Request, who *principal) error {
	t, ok := targetOf(r.URL.Query())
	if !ok {
		c.render(w, r, who, http.StatusUnprocessableEntity, "error", "Nothing chosen", errorPage{Message: "Nothing is chosen to do this to."})
		return nil
	}
	ctx := c.asking(r, who)
	reason, mode := strings.TrimSpace(r.PostFormValue("reason")), r.PostFormValue("mode")
	if reason == "" {
		return c.again(w, r, who, t, "Say why: it is kept with what is done.")
	}
	fields := map[string]any{"reason": reason}
	if t.Modes && mode != "" {
		fields["mode"] = mode
	}
	done := home
	var err error
	switch {
	case t.to == "jobs" && t.All:
		done, err = c.rerunAll(ctx, r, t, fields)
	case t.Name == "rerun-with":
		done, err = c.rerunWith(ctx, r, t, fields)
	case t.to == "jobs" && len(t.IDs) == 1:
		done = pageOfJob(t.IDs[0]) + "?said=" + t.Name
		err = c.actOn(ctx, r, t, t.IDs[0], fields)
	case t.to == "jobs":
		return c.actOnEach(ctx, w, r, who, t, fields)
	case t.to == "callbacks":
		done, err = c.redeliverAll(ctx, r, t, fields)
	case t.Name == "probe":
		done = home + "/causes/" + url.PathEscape(t.Cause) + "?said=probe"
		_, err = c.api.OpsProbeCauseWithBodyWithResponse(ctx, t.Cause, asJSON, body(fields), c.once(r, ""))
	case t.to == "cause":
		done, err = c.rerunCause(ctx, r, t, fields)
	case t.to == "batch":
		done = home + "/batches/" + url.PathEscape(t.Batch) + "?said=" + t.Name
		err = c.changeBatch(ctx, r, t, fields)
	case t.to == "links":
		done = t.afterRevoking() + "?said=" + t.Name
		err = c.revokeLinks(ctx, r, t, fields)
	case t.to == "queue" && t.Name == "pause":
		done = home + "?said=paused"
		_, err = c.api.OpsPauseQueueWithBodyWithResponse(ctx, client.Queue(t.Queue), asJSON, body(fields), c.once(r, ""))
	case t.to == "queue":
		done = home + "?said=resumed"
		_, err = c.api.OpsResumeQueueWithBodyWithResponse(ctx, client.Queue(t.Queue), asJSON, body(fields), c.once(r, ""))
	default:
		done = home + "/callbacks?said=receiver"
		fields["orgId"], fields["origin"] = t.Org, t.Origin
		_, err = c.api.OpsResumeReceiverWithBodyWithResponse(ctx, asJSON, body(fields), c.once(r, ""))
	}
	if refused, ok := refusal(err); ok && (refused.Status == http.StatusConflict || refused.Status == http.StatusUnprocessableEntity) {
		return c.again(w, r, who, t, sentence(refused.Message)+faultTexts(refused.Faults), refused.Faults...)
	}
	if err != nil {
		return err
	}
	http.Redirect(w, r, done, http.StatusSeeOther)
	return nil
}

func faultTexts(faults []client.Fault) string {
	texts := make([]string, len(faults))
	for i, f := range faults {
		texts[i] = f.Message
	}
	return strings.Join(texts, "; ")
}

// again shows a form once more, with why nothing was done.
func (c *Console) again(w http.ResponseWriter, r *http.Request, who *principal, t target, fault string, faults ...client.Fault) error {
	p, err := c.preview(c.asking(r, who), who, t, r.PostForm)
	if err != nil {
		return err
	}
	faultyParams(p.With, faults)
	p.Fault, p.Reason, p.Mode = fault, r.PostFormValue("reason"), r.PostFormValue("mode")
	c.render(w, r, who, http.StatusUnprocessableEntity, "confirm", p.Title, p)
	return nil
}

func (c *Console) actOn(ctx context.Context, r *http.Request, t target, id string, fields map[string]any) (err error) {
	switch t.Name {
	case "rerun":
		_, err = c.api.OpsRerunJobWithBodyWithResponse(ctx, id, asJSON, body(fields), c.once(r, id))
	case "cancel":
		_, err = c.api.OpsCancelJobWithBodyWithResponse(ctx, id, asJSON, body(fields), c.once(r, id))
	default:
		_, err = c.api.OpsRedeliverCallbackWithBodyWithResponse(ctx, id, asJSON, body(fields), c.once(r, id))
	}
	return err
}

// donePage says what came of an action on several jobs.
type donePage struct {
	target
	Jobs       []chosen
	Done, Rest int
}

// actOnEach does something to jobs that were chosen one by one, and says what came of each.
func (c *Console) actOnEach(ctx context.Context, w http.ResponseWriter, r *http.Request, who *principal, t target, fields map[string]any) error {
	p := donePage{target: t}
	for _, id := range t.IDs {
		one := chosen{ID: id}
		err := c.actOn(ctx, r, t, id, fields)
		refused, ok := refusal(err)
		switch {
		case err == nil:
			one.Done = true
			p.Done++
		case ok && refused.Status == http.StatusUnauthorized:
			return err
		case ok:
			one.Fault = refused.Message
			p.Rest++
		default:
			one.Fault = "temporarily unavailable, try again"
			p.Rest++
		}
		p.Jobs = append(p.Jobs, one)
	}
	c.render(w, r, who, http.StatusOK, "done", t.Title, p)
	return nil
}

func (c *Console) rerunAll(ctx context.Context, r *http.Request, t target, fields map[string]any) (string, error) {
	fields["filter"] = object(t.Filter)
	answer, err := c.api.OpsRerunJobsWithBodyWithResponse(ctx, asJSON, body(fields), c.once(r, ""))
	if err != nil {
		return "", err
	}
	if answer.JSON202 == nil {
		return home + "/batches", nil
	}
	return home + "/batches/" + url.PathEscape(answer.JSON202.BatchID) + "?said=batch", nil
}

// maxRounds bounds what one form delivers again, 500 at a time: the rest is there for the next form.
const maxRounds = 4

func (c *Console) redeliverAll(ctx context.Context, r *http.Request, t target, fields map[string]any) (string, error) {
	fields["filter"] = object(t.Filter)
	for round := range maxRounds {
		answer, err := c.api.OpsRedeliverCallbacksWithBodyWithResponse(ctx, asJSON, body(fields), c.once(r, fmt.Sprint(round)))
		if err != nil {
			return "", err
		}
		if answer.JSON200.Complete || answer.JSON200.NextPageToken == nil {
			return home + "/callbacks?said=redelivered", nil
		}
		fields["pageToken"] = *answer.JSON200.NextPageToken
	}
	return home + "/callbacks?said=some", nil
}

// once has the API take a form one time: a second click, or a page that is sent again, does nothing.
func (c *Console) once(r *http.Request, what string) client.RequestEditorFn {
	id := r.PostFormValue("once")
	return func(_ context.Context, to *http.Request) error {
		if id != "" {
			to.Header.Set(apikey.HeaderNonce, "form:"+id+":"+what)
		}
		return nil
	}
}

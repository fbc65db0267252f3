package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
	"exportd/internal/dataset"
	"exportd/internal/tracing"
	"exportd/jobs"
)

// changes reads an object of parameters that are to be others: their text, or nil for those to be left out.
// Nil where there is no object.
func (b *body) changes(name string) map[string]*string {
	b.allowed = append(b.allowed, name)
	if b.values[name] == nil { // or null
		return nil
	}
	raw, fields := b.fields[name], map[string]json.RawMessage{}
	if raw[0] != '{' || json.Unmarshal(raw, &fields) != nil || len(fields) > maxParams {
		b.fault(name, typeOnly, map[string]any{"value": shorten(string(raw))}, "must be an object")
		return nil
	}
	changes := make(map[string]*string, len(fields))
	for _, param := range slices.Sorted(maps.Keys(fields)) {
		value := fields[param]
		text := string(value)
		switch value[0] {
		case 'n':
			changes[param] = nil
			continue
		case '{', '[':
			fault := newFault(param, typeOnly, map[string]any{"value": shorten(text)}, "must be a string, a number, a boolean or null")
			fault.Path = append([]string{name}, fault.Path...)
			b.faults = append(b.faults, fault)
			continue
		case '"':
			text = ""
			_ = json.Unmarshal(value, &text)
		}
		changes[param] = &text
	}
	return changes
}

// asRequested is a parameter of a job as a request gives it.
func asRequested(name string, v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		if name == jobs.ParamFormulaGuard {
			return onOff(strconv.FormatBool(v))
		}
		return strconv.FormatBool(v)
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	}
	return fmt.Sprint(v)
}

// onOff is how requests say what jobs have as true and false.
func onOff(v string) string {
	switch {
	case strings.EqualFold(v, "true"):
		return "on"
	case strings.EqualFold(v, "false"):
		return "off"
	}
	return v
}

// changedParams are a job's parameters with changes, validated as a request for an export is, and the changes
// in words.
func changedParams(d *dataset.Dataset, j *jobs.Job, changes map[string]*string) (jobs.Params, string, error) {
	p := &params{values: url.Values{}}
	for name, v := range j.Params {
		if name == jobs.ParamScenario || name == jobs.ParamExcelForm {
			continue // the one stays as it is, the other follows from the profile
		}
		// What its format does not have nobody has chosen: a guard that is off there is none that is off in
		// CSV.
		if f := dataset.FileParamOf(name); f == nil || f.Of(j.Params.Format()) {
			p.values.Set(name, asRequested(name, v))
		}
	}
	var words []string
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		v := changes[name]
		if v == nil {
			p.values.Del(name)
			words = append(words, "no "+name)
			continue
		}
		text := *v
		if name == jobs.ParamFormulaGuard {
			text = onOff(text)
		}
		p.values.Set(name, text)
		words = append(words, name+"="+text)
	}
	file := p.file(d)
	if s := j.Scenario(); s != "" {
		file[jobs.ParamScenario] = string(s)
	}
	_ = p.finish() // its faults are told below
	if len(p.faults) == 0 {
		return file, strings.Join(words, ", "), nil
	}
	for i, fault := range p.faults {
		p.faults[i].Path = append([]string{"params"}, fault.Path...)
	}
	return nil, "", &invalidError{p.faults}
}

// rerunWith runs a job again with other parameters, as a new job of its org. While one is under way that this
// job was run again as with the same, that is the answer: two operators, or two clicks, are one rerun.
func (s *Server) rerunWith(c *gin.Context, caller *apikey.Key, j *jobs.Job, changes map[string]*string, reason string) error {
	if err := j.RerunnableWith(s.now()); err != nil {
		return conflict("rerun", err)
	}
	d := s.datasets.Get(string(j.Kind))
	if d == nil {
		return refuse(http.StatusConflict, "the job cannot be rerun: this API has no dataset "+string(j.Kind))
	}
	params, words, err := changedParams(d, j, changes)
	if err != nil {
		return err
	}
	ctx, done := begin(c)
	defer done()
	if err := s.gate(ctx, d, j.OrgID, params); err != nil {
		return err
	}
	tracing.From(ctx).Link(j.Trace)
	sub := jobs.Submission{
		OrgID: j.OrgID, KeyID: j.KeyID, RequestID: observe(c).requestID, Kind: d.Kind(), Columns: d.Version, Params: params, CallbackURL: j.CallbackURL,
		Trace: tracing.Traceparent(ctx), Rerun: &jobs.RerunWith{Of: j.ID, Actor: actor(caller), Reason: reason, Changes: words},
	}
	other := func(found *jobs.Job) bool { return found.RerunOf != j.ID || found.State.Ended() }
	if err := s.based(ctx, &sub, func() (*jobs.Job, error) {
		found, err := s.jobs.Find(ctx, sub)
		if err != nil || found == nil || other(found) {
			return nil, err
		}
		return found, nil
	}); err != nil {
		return err
	}
	submitted, err := s.jobs.Submit(ctx, sub)
	if err == nil && submitted.Reused && other(submitted.Job) {
		sub.Except = submitted.Job.ID
		submitted, err = s.jobs.Submit(ctx, sub)
	}
	if err != nil {
		return err
	}
	observe(c).jobID = submitted.Job.ID
	if !submitted.Reused {
		s.notify(c, jobs.QueueExports, jobs.Message{JobID: submitted.Job.ID})
	}
	writeJSON(c, http.StatusAccepted, map[string]any{"job": opsViewOf(submitted.Job), "mode": jobs.RerunFresh})
	return nil
}

package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"exportd/internal/dataset"
	"exportd/internal/webhook"
	"exportd/jobs"
)

// faultsOf sends a request to an operation and returns the types of the faults it is answered with, by
// parameter.
func (o contractOperation) faultsOf(t testing.TB, b *bench, query url.Values, body map[string]any) map[string]string {
	t.Helper()
	path := strings.NewReplacer("{jobId}", jobs.NewID(), "{batchId}", "none", "{queue}", "exports").Replace(o.route.Path)
	key := "key_one1"
	if strings.HasPrefix(path, "/ops/") {
		key = "key_ops1"
	}
	if strings.Contains(o.name, " /admin/") {
		key = "key_admn"
	}
	r := request(t, key, o.method, path+"?"+query.Encode())
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	}
	w := b.do(r)
	if w.Code == http.StatusBadRequest {
		t.Fatalf("%s = 400: %s", o.name, w.Body)
	}
	var answer struct{ Error []fault }
	if w.Code == http.StatusUnprocessableEntity {
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
	}
	faults := map[string]string{}
	for _, f := range answer.Error {
		faults[strings.Join(f.Path, ".")] = f.Type
	}
	return faults
}

// queryOf lists the query parameters of an operation.
func (o contractOperation) queryOf() (list []*openapi3.Parameter) {
	for _, ref := range slices.Concat(o.route.PathItem.Parameters, o.route.Operation.Parameters) {
		if ref.Value.In == openapi3.ParameterInQuery {
			list = append(list, ref.Value)
		}
	}
	return list
}

// bodyOf is the schema of the body of an operation, nil for none.
func (o contractOperation) bodyOf() *openapi3.Schema {
	if o.route.Operation.RequestBody == nil {
		return nil
	}
	return o.route.Operation.RequestBody.Value.Content.Get("application/json").Schema.Value
}

func (o contractOperation) signed() bool {
	return o.route.Operation.Security == nil || len(*o.route.Operation.Security) > 0
}

// The parameters and members of bodies that openapi.yaml names are those that the handlers know, and those
// that it requires are required.
func TestContractHasAllParameters(t *testing.T) {
	t.Parallel()
	for _, o := range contract.operations {
		if !o.signed() {
			continue
		}
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			all, required := url.Values{}, []string{}
			for _, p := range o.queryOf() {
				all.Set(p.Name, "~")
				if p.Required {
					required = append(required, p.Name)
				}
			}
			var body map[string]any
			if schema := o.bodyOf(); schema != nil {
				body = map[string]any{}
				for name := range schema.Properties {
					body[name] = "~"
				}
				required = append(required, schema.Required...)
				if _, ids := schema.Properties["jobIds"]; ids {
					required = append(required, "filter") // where these are not given
				}
				if schema.MinProps > 0 {
					required = append(required, "rowsPerDay") // or readsPerDay
				}
			}
			for name, kind := range o.faultsOf(t, b, all, body) {
				if kind == typeUnknown {
					t.Errorf("%s is in openapi.yaml, and refused", name)
				}
			}
			var missed []string
			empty := body
			if body != nil {
				empty = map[string]any{}
			}
			for name, kind := range o.faultsOf(t, b, nil, empty) {
				if kind != typeRequired {
					t.Errorf("without parameters %s is refused for %s", name, kind)
				}
				missed = append(missed, name)
			}
			slices.Sort(missed)
			slices.Sort(required)
			if !slices.Equal(missed, required) {
				t.Errorf("required are %v, by openapi.yaml %v", missed, required)
			}
			if kind := o.faultsOf(t, b, url.Values{"nosuch": {"1"}}, nil)["nosuch"]; kind != typeUnknown {
				t.Errorf("an unknown parameter is refused for %q, want %s", kind, typeUnknown)
			}
		})
	}
}

// The bounds of parameters are where openapi.yaml says: values at them are taken, those one beyond are
// refused.
func TestContractHasAllBounds(t *testing.T) {
	t.Parallel()
	tried := 0
	for _, o := range contract.operations {
		if !o.signed() {
			continue
		}
		b := newBench(t)
		for _, p := range o.queryOf() {
			// The others are in order, so that this one is judged.
			query := url.Values{}
			for _, other := range o.queryOf() {
				if other.Required && other != p {
					query.Set(other.Name, map[string]string{"workspaceId": "ws1", "mediumId": "ch1", "from": "2026-05-20", "to": "2026-06-05"}[other.Name])
				}
			}
			good, bad := boundsOf(p)
			tried += len(good) + len(bad)
			for _, v := range good {
				query.Set(p.Name, v)
				if kind, refused := o.faultsOf(t, b, query, nil)[p.Name]; refused {
					t.Errorf("%s refuses %s=%.20s for %s", o.name, p.Name, v, kind)
				}
			}
			for _, v := range bad {
				query.Set(p.Name, v)
				if _, refused := o.faultsOf(t, b, query, nil)[p.Name]; !refused {
					t.Errorf("%s takes %s=%.20s (%d bytes)", o.name, p.Name, v, len(v))
				}
			}
		}
	}
	if tried < 100 {
		t.Errorf("only %d values were tried", tried)
	}
	t.Logf("contract: %d values at and beyond the bounds of parameters", tried)
}

// boundsOf gives values of a parameter just within and just outside its schema.
func boundsOf(p *openapi3.Parameter) (good, bad []string) {
	s := p.Schema.Value
	switch {
	case p.Name == jobs.ParamColumns:
		good, bad = []string{"id", "displayName,id"}, []string{"", "x", "id,id", "id,", strings.Repeat("x", int(*s.MaxLength)+1)}
	case p.Name == jobs.ParamTimezone:
		good, bad = []string{"UTC", "Europe/Prague"}, []string{"", "x", "Local", strings.Repeat("x", int(*s.MaxLength)+1)}
	case len(s.Enum) > 0:
		for _, v := range s.Enum {
			good = append(good, v.(string))
			bad = append(bad, strings.ToUpper(v.(string))+"x")
		}
	case s.Type.Is("boolean"):
		good, bad = []string{"true", "false", "True"}, []string{"1", "yes", ""}
	case s.Type.Is("integer"):
		good = []string{fmt.Sprintf("%.0f", *s.Min), fmt.Sprintf("%.0f", *s.Max)}
		bad = []string{fmt.Sprintf("%.0f", *s.Min-1), fmt.Sprintf("%.0f", *s.Max+1), "1.5", "x", ""}
	case p.Name == "before": // not any text
		bad = []string{"", strings.Repeat("x", 1500)}
	case p.Name == jobs.ParamSince && s.Pattern != "": // of an export that there is; TestSince has those
		bad = []string{"", strings.Repeat("a", 25), strings.Repeat("a", 27), strings.Repeat("A", 26), strings.Repeat("a", 26)}
	case p.Name == "since", p.Name == "until": // of the last days, seen from noon
		good, bad = []string{"90m", "7d", "2026-06-14", "2026-06-15T08:30:00+02:00"}, []string{"", "yesterday", "7w", "2026-02-30"}
	case p.Name == "cause": // its id, or none
		bad = []string{"", "X", "X-0A1B2C3D4E5F"}
	case p.Name == "jobId", p.Name == "rerunOf":
		good, bad = []string{strings.Repeat("a", 26)}, []string{"", strings.Repeat("a", 25), strings.Repeat("A", 26)}
	case p.Name == "age":
		good, bad = []string{">2h", "<9999d", ">0m"}, []string{"", "2h", ">2w", ">10000d"}
	case p.Name == "callbackUrl", p.Name == "pageToken":
		bad = []string{"", strings.Repeat("x", int(*s.MaxLength)+1)}
	case s.MaxLength != nil:
		good = []string{"x", strings.Repeat("x", int(*s.MaxLength))}
		bad = []string{"", strings.Repeat("x", int(*s.MaxLength)+1)}
	default: // dates
		good, bad = []string{"2026-06-01", "2026-06-01T08:30:00+02:00"}, []string{"", "yesterday", "2026-02-30"}
	}
	return good, bad
}

// What is sent to callbackUrl is what openapi.yaml describes as a webhook.
func TestContractHasTheCallback(t *testing.T) {
	t.Parallel()
	schema := contract.doc.Webhooks["exportEnded"].Post.RequestBody.Value.Content.Get("application/json").Schema.Value
	rows, link, until := int64(3), "https://storage.example/x?y=z", noon.Add(time.Hour)
	for name, e := range map[string]webhook.Event{
		"succeeded": {Type: "export.succeeded", Timestamp: noon, Data: webhook.EventData{JobID: jobs.NewID(), Kind: "vip-users", State: "succeeded",
			TotalCount: &rows, CSVURL: &link, CSVURLExpiresAt: &until, Params: jobs.Params{"profile": jobs.ProfileExcel}}},
		"changes": {Type: "export.succeeded", Timestamp: noon, Data: webhook.EventData{JobID: jobs.NewID(), Kind: "vip-users", State: "succeeded",
			TotalCount: &rows, CSVURL: &link, CSVURLExpiresAt: &until, Params: jobs.Params{"since": jobs.NewID()},
			Changes: &webhook.EventChanges{Since: jobs.NewID(), Added: 1, Changed: 1, Removed: 1, Unchanged: 5, Before: 7, After: 7}}},
		"failed": {Type: "export.failed", Timestamp: noon, Data: webhook.EventData{JobID: jobs.NewID(), Kind: "vip-messages", State: "failed",
			Error: &webhook.EventError{Code: string(jobs.CodeTooManyRows), Message: "m"}, Params: jobs.Params{}}},
		"ping": {Type: webhook.EventPing, Timestamp: noon, Data: webhook.EventData{JobID: webhook.PingJobID, Kind: "vip-users", State: "succeeded", Params: struct{}{}}},
	} {
		body, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := visit(schema, body); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// visit judges JSON by a schema.
func visit(schema *openapi3.Schema, text []byte) error {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	return schema.VisitJSON(v, openapi3.EnableJSONSchema2020())
}

// States, kinds, codes and types of faults are the same in openapi.yaml and in the code.
func TestContractHasAllNames(t *testing.T) {
	t.Parallel()
	names := func(schema *openapi3.Schema) (list []string) {
		for _, v := range schema.Enum {
			list = append(list, v.(string))
		}
		slices.Sort(list)
		return list
	}
	schemas := contract.doc.Components.Schemas
	texts := func(list ...string) []string { slices.Sort(list); return list }
	var states, codes []string
	for _, s := range jobs.States {
		states = append(states, string(s))
	}
	for _, c := range jobs.Codes {
		codes = append(codes, string(c))
	}
	for name, want := range map[string][]string{
		"State": texts(states...), "ErrorCode": texts(codes...), "Kind": texts(dataset.BuiltIn.Names()...),
		"ContentType": texts("text", "postback", "attachment", "other"), "Profile": texts(string(jobs.ProfileRFC4180), string(jobs.ProfileExcel)),
		"Queue": texts(string(jobs.QueueExports), string(jobs.QueueCallbacks)), "RerunMode": texts(string(jobs.RerunResume), string(jobs.RerunFresh)),
		"CallbackState": texts(string(jobs.CallbackPending), string(jobs.CallbackDelivered), string(jobs.CallbackExhausted), string(jobs.CallbackBlocked),
			string(jobs.CallbackGone), string(jobs.CallbackSuspended), string(jobs.CallbackDropped), string(jobs.CallbackDamaged)),
	} {
		if got := names(schemas[name].Value); !slices.Equal(got, want) {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
	want := texts(typeRequired, typeOnly, typeUnknown, typeEmpty, typeMax, typeURI, typeNumber, typeInteger, typeNumMin, typeNumMax, typeBoolean, typeDate, typeGreater, typeRange)
	if got := names(schemas["Fault"].Value.Properties["type"].Value); !slices.Equal(got, want) {
		t.Errorf("types of faults = %v, want %v", got, want)
	}
}

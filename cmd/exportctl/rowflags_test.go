package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"exportd/api/client"
	"exportd/internal/dataset"
)

// purchases are a dataset of another gate, order and paging than those that are built in.
var purchases = &dataset.Dataset{
	Name: "purchase-orders", Title: "purchase orders", Order: "By number; equal ones by id.",
	Gate: dataset.Gate{OrgField: "orgId"}, Sort: dataset.Sort{Field: "number", Type: dataset.Text, Ascending: true},
	Filters: []dataset.Filter{
		{Param: "isOpen", Type: dataset.Flag, Doc: "Only open ones."},
		{Param: "year", Type: dataset.Number, Min: 2000, Max: 2100, Implies: "isOpen", Doc: "Only those of this year; implies `isOpen`."},
		{Param: "state", Type: dataset.Text, Values: []string{"paid", "sent"}},
		{Param: "customerId", Type: dataset.Text, Doc: "Only those of this customer."},
	},
	List: dataset.List{Rows: "orders", Cursor: "cursor"},
}

// TestFlagsOfDatasets: whatever is declared, export and list have a flag for each filter, send what was given
// and what the profile has of what the dataset takes, and nothing else.
func TestFlagsOfDatasets(t *testing.T) {
	t.Parallel()
	for _, d := range append(slices.Clone(dataset.BuiltIn), purchases) {
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			var asked []url.Values
			pages := 0
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				asked = append(asked, r.URL.Query())
				switch r.URL.Path {
				case "/" + d.Name:
					pages++
					next := map[bool]string{true: `"total":3,"nextOffset":2`, false: `"nextCursor":"c2"`}[d.List.Cursor == ""]
					if pages == 2 {
						next = strings.NewReplacer("2", "null", `"c2"`, "null").Replace(next)
					}
					fmt.Fprintf(w, `{"%s":[{"id":"a%d"},{"id":"b%d"}],%s}`, d.List.Rows, pages, pages, next)
				case "/" + d.Name + "/export":
					w.Header().Set("Location", "/exports/abcdefghijklmnopqrstuvwxyz")
					w.WriteHeader(http.StatusAccepted)
				default:
					fmt.Fprint(w, `{"jobId":"abcdefghijklmnopqrstuvwxyz","kind":"vip-users","state":"queued","params":{},"progress":{}}`)
				}
			}))
			defer s.Close()
			want := url.Values{}
			var args []string
			for _, f := range d.Filters {
				value := map[dataset.Type]string{dataset.Flag: "true", dataset.Number: fmt.Sprint(f.Max), dataset.Text: strings.Join(f.Values[:min(1, len(f.Values))], "") + "x"}[f.Type]
				want.Set(f.Param, value)
				args = append(args, "--"+flagName(f.Param)+"="+value)
			}
			if d.Gate.VIP() {
				want.Set("workspaceId", "w1")
				want.Set("mediumId", "given")
				args = append(args, "-m", "given")
			}
			if d.Window != nil {
				want.Set("from", "2026-01-01")
				want.Set("to", "2026-01-02")
			}
			env := call{vars: map[string]string{"HOME": homeOf(t, profile{URL: s.URL, Key: "k", Secret: "s", Workspace: "w1", Medium: "m1", From: "2026-01-01", To: "2026-01-02"})}}
			r := runCommand(t, env, (*app).exportKind, d, append(args, "--detach")...)
			r.want(t, exitOK)
			if got := asked[0]; got.Encode() != want.Encode() {
				t.Errorf("export asks for %v, want %v", got, want)
			}
			asked = nil
			r = runCommand(t, env, (*app).listCommand, d, append(args, "-n", "4")...)
			r.want(t, exitOK)
			want.Set("limit", "4")
			if got := asked[0]; got.Encode() != want.Encode() {
				t.Errorf("the list asks for %v, want %v", got, want)
			}
			want.Set("limit", "2")
			if d.List.Cursor == "" {
				want.Set("offset", "2")
			} else {
				want.Set(d.List.Cursor, "c2")
			}
			if len(asked) != 2 || asked[1].Encode() != want.Encode() {
				t.Errorf("the second page is asked for by %v, want %v", asked[1:], want)
			}
			rows := fmt.Sprintf(`%q:[{"id":"a1"},{"id":"b1"},{"id":"a2"},{"id":"b2"}]`, d.List.Rows)
			shown := map[bool]string{true: `{"total":3,"nextOffset":null,` + rows + "}\n", false: "{" + rows + `,"nextCursor":null}` + "\n"}[d.List.Cursor == ""]
			if r.stdout != shown {
				t.Errorf("the list shows %s, want %s", r.stdout, shown)
			}
		})
	}
}

// homeOf is a home with a profile.
func homeOf(t *testing.T, p profile) string {
	t.Helper()
	home := t.TempDir()
	path := filepath.Join(home, ".config", "exportctl", "config.json")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeConfig(configFile{Default: "p", Profiles: map[string]profile{"p": p}}, path); err != nil {
		t.Fatal(err)
	}
	return home
}

// runCommand runs the command of a dataset; it prints JSON.
func runCommand(t *testing.T, c call, of func(*app, *dataset.Dataset) *cobra.Command, d *dataset.Dataset, args ...string) result {
	t.Helper()
	var stdout, stderr output
	a := &app{environment: c.environment(&stdout, &stderr), asJSON: true}
	cmd := of(a, d)
	cmd.SetArgs(args)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	code := exitOK
	if err := cmd.ExecuteContext(context.WithoutCancel(t.Context())); err != nil {
		code = a.report(err)
	}
	return result{code, stdout.String(), stderr.String()}
}

func TestWordsOfDatasets(t *testing.T) {
	t.Parallel()
	a := &app{environment: call{}.environment(nil, nil)}
	cmd := a.exportKind(purchases)
	if want := "Export purchase orders, by number"; cmd.Short != want {
		t.Errorf("short = %q, want %q", cmd.Short, want)
	}
	for name, want := range map[string]string{
		"is-open": "only open ones", "year": "only those of this year; implies --is-open; 2000 to 2100", "state": "paid, sent", "customer-id": "only those of this customer",
	} {
		if f := cmd.Flags().Lookup(name); f == nil || f.Usage != want {
			t.Errorf("--%s = %+v, want %q", name, f, want)
		}
	}
	if cmd.Flags().Lookup("workspace") != nil || cmd.Flags().Lookup("from") != nil {
		t.Error("a dataset without gate and window has their flags")
	}
	for _, d := range dataset.BuiltIn {
		for _, path := range []string{"export " + d.Name, d.List.Rows} {
			if c, _, err := a.command().Find(strings.Fields(path)); err != nil || c.Name() != path[strings.LastIndexByte(path, ' ')+1:] {
				t.Errorf("exportctl %s = %v, %v", path, c.Name(), err)
			}
		}
	}
	for line, want := range map[string]string{"export vip-messages --content-type ": "postback", "jobs list --kind ": "vip-messages", "ops jobs list --kind ": "vip-users"} {
		call{}.run(t.Context(), append([]string{"__complete"}, strings.Split(line, " ")...)...).want(t, exitOK).shows(t, want)
	}
	month, yes := 5, true
	for want, p := range map[string]client.Params{
		"birthday month 5": {FormulaGuard: true, BirthdayMonth: &month, HasBirthday: &yes}, "has birthday": {FormulaGuard: true, HasBirthday: &yes}, "": {FormulaGuard: true},
	} {
		if got := filterText(client.KindVipUsers, p); got != want {
			t.Errorf("filterText = %q, want %q", got, want)
		}
	}
}

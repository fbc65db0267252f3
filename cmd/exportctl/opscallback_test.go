package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
)

// TestRedeliverAll goes on where the answer before says, until there is no more; what was not possible on the
// way does not end it.
func TestRedeliverAll(t *testing.T) {
	t.Parallel()
	answers := map[string]string{
		"":  `{"dryRun":false,"matched":500,"redelivered":500,"complete":false,"nextPageToken":"a"}`,
		"a": `{"dryRun":false,"matched":500,"redelivered":0,"complete":false,"nextPageToken":"b"}`,
		"b": `{"dryRun":false,"matched":200,"redelivered":199,"complete":true,"nextPageToken":null}`,
	}
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body redeliverBody
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		if body.DryRun {
			fmt.Fprint(w, `{"dryRun":true,"matched":1200,"redelivered":0,"complete":true,"nextPageToken":null}`)
			return
		}
		asked = append(asked, body.PageToken)
		fmt.Fprint(w, answers[body.PageToken])
	}))
	defer server.Close()
	vars := map[string]string{"EXPORTCTL_URL": server.URL, "EXPORTCTL_KEY": "key_1", "EXPORTCTL_SECRET": "s"}
	call{vars: vars}.run(t.Context(), "ops", "callback", "redeliver", "--filter", "state=delivered", "--reason", "x", "--yes").
		want(t, exitOK).says(t, "699 callbacks are on their way again.")
	if want := []string{"", "a", "b"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}
}

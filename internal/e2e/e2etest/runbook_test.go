package e2etest

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

const aRunbook = "# A\n\n**Look.**\n\n```sh\nexportctl ops stats\necho $JOB\n```\n\n```text exit=3\n...\nno worker is alive\njob $JOB...done\n```\n\n" +
	"**Then.**\n\n1. Scale:\n\n   ```sh cluster\n   kubectl get pods\n     -l x\n   ```\n"

// TestRunbook: commands are taken as printed, without the indentation of their list, with what they show.
func TestRunbook(t *testing.T) {
	t.Parallel()
	read := func(text string) ([]Commands, error) {
		path := filepath.Join(t.TempDir(), "a.md")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return Runbook(path)
	}
	got, err := read(aRunbook)
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	if c := got[0]; c.Text != "exportctl ops stats\necho $JOB" || c.Needs != "" || c.Exit != 3 || c.Then || !slices.Equal(c.Shows, []string{"...", "no worker is alive", "job $JOB...done"}) {
		t.Errorf("%+v", c)
	}
	if c := got[1]; c.Text != "kubectl get pods\n  -l x" || c.Needs != "cluster" || c.Exit != 0 || !c.Then || c.Shows != nil {
		t.Errorf("%+v", c)
	}
	value := func(string) string { return "j.1" }
	for out, want := range map[string]string{
		"x\n no  worker is alive\ny\njob j.1 is done\n": "",
		"no worker is alive\njob j.1 is undone\n":       "",
		"job j.1 is done\nno worker is alive\n":         "job $JOB...done", // the other way round
		"no worker is alive\njob jx1 is done\n":         "job $JOB...done", // no pattern but ...
		"no worker is alive, or is it\n":                "no worker is alive",
	} {
		if missing := got[0].Missing(out, value); missing != want {
			t.Errorf("of %q is missing %q, want %q", out, missing, want)
		}
	}
	for _, bad := range []string{"```sh\nx\n", "```go\nx\n```\n", "```text\nx\n```\n", "```sh\nx\n```\n```text\nx\n```\n```text\ny\n```\n", "```sh\nx\n```\n```text exit=x\n```\n"} {
		if got, err := read(bad); err == nil {
			t.Errorf("%q gives %+v", bad, got)
		}
	}
}

package client_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"exportd/internal/e2e/e2etest"
	"exportd/internal/machinetest"
	"exportd/internal/webhook"
)

// language is how examples of it are run: in a folder, by an interpreter, or as programs.
type language struct {
	name             string
	prepare          func(t *testing.T, folder string) (env []string)
	interpreter, ext string
	// page begins with a program, marked as mark, that needs what is given before it.
	page, mark, given string
}

var examplesIn = []language{
	{"Python", installWheel, "python3", ".py", "python/README.md", "python", "key, secret, w, m = %q, %q, %q, %q\n"},
	{"TypeScript", installPackage, "node", ".mjs", "typescript/README.md", "ts", "const [key, secret, w, m] = [%q, %q, %q, %q];\n"},
	{name: "Go", prepare: buildExamples}, // its page is the README, which TestRealService has
	{name: shell, prepare: copyShell, interpreter: "sh", ext: ".sh"},
}

const shell = "curl" // what has no receiver

func (l language) run(folder, example string) []string {
	if l.interpreter == "" {
		return []string{filepath.Join(folder, example)}
	}
	return []string{l.interpreter, filepath.Join(folder, example+l.ext)}
}

// languages has the real service used as in examples: packed as they are published, and installed elsewhere.
func languages(t *testing.T, binary string) {
	s := e2etest.Dev(t, binary, t.TempDir(), e2etest.Sizes{Users: 200, Messages: 3000})
	day := s.Messages("from", s.To, "to", s.To)
	job, file := s.Caller().Export(t, "vip-messages", day)
	if *job.TotalCount == 0 {
		t.Fatal("the day has no messages")
	}
	for _, l := range examplesIn {
		t.Run(l.name, func(t *testing.T) {
			folder := t.TempDir()
			env := append(l.prepare(t, folder), "URL="+s.APIURL, "KEY="+s.APIKey, "SECRET="+s.Secret, "W="+s.WorkspaceID, "M="+s.MediumID, "DAY="+s.To, "FROM="+s.To, "TO="+s.To)
			name := "vip-messages-" + s.To + ".csv"
			began := time.Now()
			if got, want := output(t, folder, env, l.run(folder, "nightly")...), fmt.Sprintf("%s has %d rows\n", name, *job.TotalCount); got != want {
				t.Errorf("nightly said %q, want %q", got, want)
			}
			t.Logf("from the start of the program to the file: %s", time.Since(began).Round(10*time.Millisecond))
			sameFile(t, filepath.Join(folder, name), file)
			if got := output(t, folder, env, l.run(folder, "nightly")...); got != "" {
				t.Errorf("once more, nightly said %q", got)
			}
			if got, want := output(t, folder, env, l.run(folder, "quickstart")...), fmt.Sprintf("messages.csv has %d rows\n", *job.TotalCount); got != want {
				t.Errorf("quickstart said %q, want %q", got, want)
			}
			sameFile(t, filepath.Join(folder, "messages.csv"), file)
			rotates(t, s, l, folder, env)
			if l.name != shell {
				receives(t, s, l, folder, env, day, job.JobID, file)
			}
			if l.page != "" {
				l.readme(t, s, folder, env)
			}
		})
	}
	_, file = s.Caller().Export(t, "vip-messages", s.Messages()) // with all that is nasty
	t.Run("Postgres", func(t *testing.T) { loadPostgres(t, file) })
	t.Run("DuckDB", func(t *testing.T) { loadDuckDB(t, file) })
}

func output(t *testing.T, folder string, env []string, command ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	var stderr bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stderr = folder, append(os.Environ(), env...), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", command, err, out, &stderr)
	}
	return string(out)
}

func sameFile(t *testing.T, path string, want []byte) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s has %d bytes, the service's file %d, or they are others: %v", path, len(got), len(want), err)
	}
}

// rotates: a key gets a new secret, by which it signs as by the old one.
func rotates(t *testing.T, s *e2etest.Stack, l language, folder string, env []string) {
	t.Helper()
	var made struct {
		Key    struct{ KeyID string }
		Secret string
	}
	body := fmt.Sprintf(`{"orgId":%q,"name":%q,"scopes":["read"],"reason":"test"}`, s.OrgID, "rotated by "+l.name)
	s.Operator().Do(t, http.MethodPost, "/admin/keys", nil, strings.NewReader(body)).Want(t, http.StatusCreated).JSON(t, &made)
	env = append(slices.Clone(env), "KEY="+s.OpsAPIKey, "SECRET="+s.OpsSecret, "ROTATE="+made.Key.KeyID)
	fresh := strings.TrimSuffix(output(t, folder, env, l.run(folder, "rotate")...), "\n")
	if fresh == made.Secret || strings.ContainsAny(fresh, " \n\"") {
		t.Errorf("rotate printed %d bytes that are no new secret", len(fresh))
	}
	for _, secret := range []string{fresh, made.Secret} {
		(&e2etest.Client{URL: s.APIURL, ID: made.Key.KeyID, Secret: secret}).Get(t, "/workspaces", nil).Want(t, http.StatusOK)
	}
}

// receives: the receiver verifies a real callback and saves the file, also behind one of done, an export that
// has ended, whose file it cannot save; one with another secret refuses it.
func receives(t *testing.T, s *e2etest.Stack, l language, folder string, env []string, query url.Values, done string, file []byte) {
	t.Helper()
	start := func(secret string) (*e2etest.Process, string) {
		inFolder := append([]string{"-c", `cd "$0" && exec "$@"`, folder}, l.run(folder, "receiver")...)
		p := e2etest.Start(t, append(slices.Clone(env), "WEBHOOK_SECRET="+secret, "PORT=0"), "sh", inFolder...)
		return p, p.WaitLine(t, time.Minute, func(line string) string {
			at, _ := strings.CutPrefix(line, "listening on ")
			if at == line {
				return ""
			}
			return at
		})
	}
	stranger := "whsec_" + strings.Repeat("A", 44)
	p, at := start(stranger + "," + s.WebhookSecret)
	post(t, at, s.WebhookSecret, fmt.Sprintf(`{"type":"export.succeeded","timestamp":"2026-01-02T03:04:05Z","data":{"jobId":%q,"kind":"no/such/folder","totalCount":1}}`, done))
	c := s.Caller()
	id := c.Submit(t, "vip-messages", withCallback(query, at), "Cache-Control", "no-cache")
	name := "vip-messages-" + id + ".csv"
	p.WaitLine(t, time.Minute, func(line string) string {
		if strings.HasPrefix(line, name+" has ") {
			return line
		}
		return ""
	})
	sameFile(t, filepath.Join(folder, name), file)
	_, at = start(stranger)
	id = c.Submit(t, "vip-messages", withCallback(query, at), "Cache-Control", "no-cache")
	e2etest.Until(t, time.Minute, "a refused callback", func() bool {
		var j struct{ Callback struct{ LastStatus *int } }
		c.Get(t, "/exports/"+id, nil).Want(t, http.StatusOK).JSON(t, &j)
		return j.Callback.LastStatus != nil && *j.Callback.LastStatus == http.StatusUnauthorized
	})
	c.Do(t, http.MethodDelete, "/exports/"+id, nil, nil).Want(t, http.StatusNoContent) // no more tries
}

// post sends a signed callback, which the receiver takes.
func post(t *testing.T, at, secret, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	const id = "msg_1"
	now := time.Now()
	key, err := webhook.ParseSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := webhook.Sign(id, now, []byte(body), key)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(webhook.HeaderID, id)
	r.Header.Set(webhook.HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
	r.Header.Set(webhook.HeaderSignature, signature)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusNoContent {
		t.Errorf("the receiver answers a signed callback with %d", response.StatusCode)
	}
}

func withCallback(query url.Values, at string) url.Values {
	more := url.Values{"callbackUrl": {at}}
	for name, values := range query {
		more[name] = values
	}
	return more
}

// readme: the program that the package's own page begins with does what it says.
func (l language) readme(t *testing.T, s *e2etest.Stack, folder string, env []string) {
	t.Helper()
	page, err := os.ReadFile(l.page)
	if err != nil {
		t.Fatal(err)
	}
	_, program, _ := strings.Cut(string(page), "```"+l.mark+"\n")
	program, _, ok := strings.Cut(program, "```")
	if !ok {
		t.Fatalf("%s has no program", l.page)
	}
	program = strings.NewReplacer("https://exportd.example.com", s.APIURL, "2026-06-01", s.From, "2026-06-30", s.To).Replace(program)
	given := fmt.Sprintf(l.given, s.APIKey, s.Secret, s.WorkspaceID, s.MediumID)
	if err := os.WriteFile(filepath.Join(folder, "quick"+l.ext), []byte(given+program), 0o600); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if got, want := output(t, folder, env, l.run(folder, "quick")...), fmt.Sprintf("messages.csv has %d rows\n", s.Facts.Messages); got != want {
		t.Errorf("%s: the program said %q, want %q", l.page, got, want)
	}
	t.Logf("%s: from the start of the program to the file: %s", l.page, time.Since(began).Round(10*time.Millisecond))
	if rows := rowsOf(t, filepath.Join(folder, "messages.csv")); rows != s.Facts.Messages {
		t.Errorf("%s: messages.csv has %d rows, want %d", l.page, rows, s.Facts.Messages)
	}
}

func copyExamples(t *testing.T, folder, pattern string) {
	t.Helper()
	names, err := filepath.Glob("examples/" + pattern)
	if err != nil || len(names) < 3 {
		t.Fatalf("examples = %q, %v", names, err)
	}
	for _, name := range names {
		copyFile(t, name, filepath.Join(folder, filepath.Base(name)))
	}
}

// installWheel builds the Python client's wheel and lets examples import it.
func installWheel(t *testing.T, folder string) []string {
	t.Helper()
	source := filepath.Join(t.TempDir(), "source") // its build leaves files beside it
	if err := os.CopyFS(source, os.DirFS("python")); err != nil {
		t.Fatal(err)
	}
	builder := ""
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.CommandContext(t.Context(), python, "-c", "import setuptools, wheel").Run() == nil {
			builder = python
			break
		}
	}
	if builder == "" {
		machinetest.Lacks(t, "Python's setuptools and wheel (python3-setuptools, python3-wheel)")
	}
	out := strings.Fields(output(t, source, nil, builder, "-c", "import setuptools.build_meta as b, sys; print(b.build_wheel(sys.argv[1]))", folder))
	wheel := filepath.Join(folder, out[len(out)-1])
	for _, want := range []string{"exportd_client/py.typed", "exportd_client/models.py", "LICENSE"} {
		if list := output(t, folder, nil, "python3", "-m", "zipfile", "--list", wheel); !strings.Contains(list, want) {
			t.Errorf("the wheel is without %s:\n%s", want, list)
		}
	}
	copyExamples(t, folder, "*.py")
	return []string{"PYTHONPATH=" + wheel, "PYTHONDONTWRITEBYTECODE=1"}
}

// installPackage packs the TypeScript client as it is published, and installs it.
func installPackage(t *testing.T, folder string) []string {
	t.Helper()
	root := filepath.Dir(buildTypeScript(t))
	var packed []struct {
		Filename string
		Files    []struct{ Path string }
	}
	if err := json.Unmarshal([]byte(output(t, root, nil, "npm", "pack", "--ignore-scripts", "--json")), &packed); err != nil || len(packed) != 1 {
		t.Fatalf("npm pack says %v, %v", packed, err)
	}
	var paths []string
	for _, f := range packed[0].Files {
		paths = append(paths, f.Path)
		if !strings.HasPrefix(f.Path, "dist/") && !slices.Contains([]string{"package.json", "README.md", "LICENSE"}, f.Path) {
			t.Errorf("%s is packed", f.Path)
		}
	}
	for _, want := range []string{"dist/index.js", "dist/index.d.ts", "dist/node.js", "dist/node.d.ts", "README.md", "LICENSE"} {
		if !slices.Contains(paths, want) {
			t.Errorf("%s is not packed", want)
		}
	}
	modules := filepath.Join(folder, "node_modules")
	if err := os.Mkdir(modules, 0o700); err != nil {
		t.Fatal(err)
	}
	output(t, modules, nil, "tar", "-xzf", filepath.Join(root, packed[0].Filename))
	if err := os.Rename(filepath.Join(modules, "package"), filepath.Join(modules, "exportd-client")); err != nil {
		t.Fatal(err)
	}
	copyExamples(t, folder, "*.mjs")
	return nil
}

func buildExamples(t *testing.T, folder string) []string {
	t.Helper()
	output(t, ".", nil, "go", "build", "-tags", "nomsgpack", "-o", folder+"/", "./examples/nightly", "./examples/quickstart", "./examples/receiver", "./examples/rotate")
	return nil
}

func copyShell(t *testing.T, folder string) []string {
	t.Helper()
	for _, name := range []string{"curl", "openssl"} {
		machinetest.Program(t, name)
	}
	copyExamples(t, folder, "*.sh")
	return nil
}

// cells are those of a file, its head among them.
func cells(t *testing.T, file []byte) [][]string {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(file)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// startPostgres starts a server, and returns what leads psql to it, and a folder with the examples.
func startPostgres(t *testing.T) (folder string, env []string) {
	t.Helper()
	bin := e2etest.PostgresBin()
	if bin == "" {
		machinetest.Lacks(t, "PostgreSQL (initdb, postgres, psql)")
	}
	folder = t.TempDir()
	copyExamples(t, folder, "*.py")
	return folder, e2etest.StartPostgres(t, bin).Env()
}

func loadPostgres(t *testing.T, file []byte) {
	folder, env := startPostgres(t)
	if err := os.WriteFile(filepath.Join(folder, "export.csv"), file, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time in the place of the first
		output(t, folder, env, "python3", "load_postgres.py", "export.csv", `my "messages"`)
	}
	got := output(t, folder, env, "psql", "--no-psqlrc", "--command", `COPY "my ""messages""" TO STDOUT (FORMAT csv, HEADER)`)
	if diff := cmp.Diff(cells(t, file), cells(t, []byte(got))); diff != "" {
		t.Errorf("the file (-) and the table (+) differ:\n%.3000s", diff)
	}
}

func loadDuckDB(t *testing.T, file []byte) {
	modules, err := filepath.Abs("../../internal/parquetrow/testdata/readers/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(modules, "@duckdb")); err != nil {
		machinetest.Lacks(t, "DuckDB (npm ci --prefix internal/parquetrow/testdata/readers)")
	}
	folder := t.TempDir()
	if err := os.Symlink(modules, filepath.Join(folder, "node_modules")); err != nil {
		t.Fatal(err)
	}
	copyExamples(t, folder, "*.mjs")
	if err := os.WriteFile(filepath.Join(folder, "export.csv"), file, 0o600); err != nil {
		t.Fatal(err)
	}
	want := cells(t, file)
	for range 2 {
		if got := output(t, folder, nil, "node", "load_duckdb.mjs", "export.csv", "my.db", `my "messages"`); got != fmt.Sprintf("my \"messages\" has %d rows\n", len(want)-1) {
			t.Errorf("it said %q", got)
		}
	}
	const readBack = "import { DuckDBInstance } from '@duckdb/node-api';\n" +
		"const db = await (await DuckDBInstance.create('my.db')).connect();\n" +
		"await db.run(`COPY \"my \"\"messages\"\"\" TO 'back.csv' (FORMAT csv, FORCE_QUOTE *)`);"
	if err := os.WriteFile(filepath.Join(folder, "back.mjs"), []byte(readBack), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, folder, nil, "node", "back.mjs")
	back, err := os.ReadFile(filepath.Join(folder, "back.csv"))
	if err != nil {
		t.Fatal(err)
	}
	got := cells(t, back)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the file (-) and the table (+) differ:\n%.3000s", diff)
	}
}

package e2etest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/demo"
	"exportd/internal/localcloud"
	"exportd/internal/localcloud/fault"
)

// Project is the Google Cloud project of exportd in development.
const Project = "exportd-local"

// Facts are what demo.json holds.
type Facts struct {
	APIURL string `json:"apiUrl"`
	demo.Summary
	Hosts
}

// Hosts are where the services of Google are.
type Hosts struct {
	Firestore string `json:"firestoreEmulatorHost"`
	PubSub    string `json:"pubsubEmulatorHost"`
	Storage   string `json:"storageEmulatorHost"`
	// Control takes faults, where the cloud was started with --control.
	Control string `json:"controlHost"`
	// Accounts are the same services as accounts with bounded permissions see them, by name.
	Accounts map[string]Hosts `json:"-"`
}

// As returns the hosts at which the caller is an account.
func (h Hosts) As(tb testing.TB, account string) Hosts {
	tb.Helper()
	as, ok := h.Accounts[account]
	if !ok {
		tb.Fatalf("the cloud has no account %q", account)
	}
	return as
}

// Faults sets what goes wrong in the embedded cloud from now on: the JSON of a fault.Config, "{}" for
// nothing.
func (h Hosts) Faults(tb testing.TB, config string) {
	tb.Helper()
	r, err := Send(tb.Context(), http.MethodPut, "http://"+h.Control+"/faults", nil, strings.NewReader(config))
	if err != nil {
		tb.Fatalf("set faults: %v", err)
	}
	r.Want(tb, http.StatusOK)
}

// OpenFirestore returns the official client, which is closed at the end of the test.
func (h Hosts) OpenFirestore(tb testing.TB) *firestore.Client {
	tb.Helper()
	client, err := firestore.NewClient(tb.Context(), Project, localcloud.GRPCOptions(h.Firestore)...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = client.Close() })
	return client
}

// Counters are what the embedded cloud has counted since its start.
func (h Hosts) Counters(tb testing.TB) (counted fault.Counters) {
	tb.Helper()
	r, err := Send(tb.Context(), http.MethodGet, "http://"+h.Control+"/counters", nil, nil)
	if err != nil {
		tb.Fatal(err)
	}
	r.Want(tb, http.StatusOK).JSON(tb, &counted)
	return counted
}

// Env names the hosts to a process.
func (h Hosts) Env() []string {
	return []string{"FIRESTORE_EMULATOR_HOST=" + h.Firestore, "PUBSUB_EMULATOR_HOST=" + h.PubSub, "STORAGE_EMULATOR_HOST=" + h.Storage}
}

// Sizes are those of the demo data, hand-made rows not counted.
type Sizes struct{ Users, Messages int }

// Stack is a running exportd with demo data.
type Stack struct {
	Facts
	Sizes Sizes
	// Process is what serves the API.
	Process *Process
}

// startWithin is generous: with the race detector on two busy cores a start is slow.
const startWithin = 90 * time.Second

// Dev starts "exportd-dev run" on a data folder and waits until it is ready.
func Dev(tb testing.TB, binary, folder string, sizes Sizes, env ...string) *Stack {
	tb.Helper()
	p := Start(tb, env, DevProgram(binary), "run", "--data-dir", folder, "--addr", "127.0.0.1:0",
		"--demo-users", strconv.Itoa(sizes.Users), "--demo-messages", strconv.Itoa(sizes.Messages))
	p.WaitLine(tb, startWithin, func(line string) string {
		if strings.HasPrefix(line, "exportd is ready at ") {
			return line
		}
		return ""
	})
	s := &Stack{Sizes: sizes, Process: p}
	raw, err := os.ReadFile(filepath.Join(folder, "demo.json"))
	if err == nil {
		err = json.Unmarshal(raw, &s.Facts)
	}
	if err != nil {
		tb.Fatalf("read demo.json: %v", err)
	}
	return s
}

// Emulators starts "exportd-dev emulators" and returns where its services are.
func Emulators(tb testing.TB, binary, folder string, args ...string) (*Process, Hosts) {
	tb.Helper()
	p := Start(tb, nil, DevProgram(binary), append([]string{"emulators", "--json", "--data-dir", folder}, withRoles(tb, args)...)...)
	line := p.WaitLine(tb, startWithin, func(line string) string {
		if strings.Contains(line, `"FIRESTORE_EMULATOR_HOST"`) {
			return line
		}
		return ""
	})
	var vars struct {
		hostVars
		Control  string              `json:"CONTROL_HOST"`
		Accounts map[string]hostVars `json:"accounts"`
	}
	if err := json.Unmarshal([]byte(line), &vars); err != nil {
		tb.Fatalf("exportd-dev emulators --json wrote %q: %v", line, err)
	}
	h := vars.hosts(vars.Control)
	h.Accounts = map[string]Hosts{}
	for name, v := range vars.Accounts {
		h.Accounts[name] = v.hosts(vars.Control)
	}
	if len(h.Accounts) > 0 {
		clouds.Store(h.Firestore, h)
		tb.Cleanup(func() { clouds.Delete(h.Firestore) }) // before it ends, and its port is another's
	}
	return p, h
}

type hostVars struct {
	Firestore string `json:"FIRESTORE_EMULATOR_HOST"`
	PubSub    string `json:"PUBSUB_EMULATOR_HOST"`
	Storage   string `json:"STORAGE_EMULATOR_HOST"`
}

func (v hostVars) hosts(control string) Hosts {
	return Hosts{Firestore: v.Firestore, PubSub: v.PubSub, Storage: strings.TrimPrefix(v.Storage, "http://"), Control: control}
}

// Services sets up the hosts, loads demo data and starts "exportd api" there; env holds more variables.
// Workers are started with Worker.
func Services(tb testing.TB, binary string, hosts Hosts, sizes Sizes, env ...string) *Stack {
	tb.Helper()
	Setup(tb, binary, hosts, env)
	summary, err := LoadDemo(tb.Context(), hosts, sizes)
	if err != nil {
		tb.Fatal(err)
	}
	p, url := API(tb, binary, hosts, env...)
	return &Stack{Facts: Facts{APIURL: url, Summary: summary, Hosts: hosts}, Sizes: sizes, Process: p}
}

// Setup runs "exportd setup" and returns what it printed.
func Setup(tb testing.TB, binary string, hosts Hosts, env []string, args ...string) string {
	tb.Helper()
	p := Start(tb, append(hosts.Env(), env...), binary, append([]string{"setup"}, args...)...)
	if code := p.Wait(tb, startWithin); code != 0 {
		tb.Fatalf("exportd setup: exit code %d\n%s", code, p.Stderr())
	}
	return p.Stdout()
}

// API starts "exportd api" on a free port and returns its URL.
func API(tb testing.TB, binary string, hosts Hosts, env ...string) (*Process, string) {
	tb.Helper()
	p := Start(tb, append(append(hosts.Env(), env...), "EXPORTD_ADDR=127.0.0.1:0", "EXPORTD_OPS_ADDR=127.0.0.1:0"), binary, "api")
	addr := p.WaitLine(tb, startWithin, func(line string) string {
		var entry struct{ Addr string }
		_ = json.Unmarshal([]byte(line), &entry) // other lines
		return entry.Addr
	})
	return p, "http://" + addr
}

// OpsURL is where a process answers operators.
func OpsURL(tb testing.TB, p *Process) string {
	tb.Helper()
	return "http://" + p.WaitLine(tb, startWithin, func(line string) string {
		var entry struct {
			Addr string `json:"ops_addr"`
		}
		_ = json.Unmarshal([]byte(line), &entry) // other lines
		return entry.Addr
	})
}

// LoadDemo fills a Firestore with demo data up to today.
func LoadDemo(ctx context.Context, hosts Hosts, sizes Sizes) (demo.Summary, error) {
	return LoadDemoOf(ctx, hosts, sizes, time.Now())
}

// LoadDemoOf fills a Firestore with demo data up to a day.
func LoadDemoOf(ctx context.Context, hosts Hosts, sizes Sizes, day time.Time) (demo.Summary, error) {
	target, closeTarget, err := demo.DialEmulator(ctx, hosts.Firestore, Project)
	if err != nil {
		return demo.Summary{}, err
	}
	defer closeTarget()
	return demo.Load(ctx, target, demo.Options{Seed: 1, Users: sizes.Users, Messages: sizes.Messages, Now: day})
}

// Worker starts "exportd worker" and waits until it has begun.
func Worker(tb testing.TB, binary string, hosts Hosts, env ...string) *Process {
	tb.Helper()
	p := Start(tb, append(hosts.Env(), env...), binary, "worker")
	p.WaitLine(tb, startWithin, func(line string) string {
		if strings.Contains(line, "worker started") {
			return line
		}
		return ""
	})
	return p
}

// Caller is the demo caller.
func (s *Stack) Caller() *Client { return &Client{URL: s.APIURL, ID: s.APIKey, Secret: s.Secret} }

// Operator has a key of the same org that may operate.
func (s *Stack) Operator() *Client { return &Client{s.APIURL, s.OpsAPIKey, s.OpsSecret, true} }

// Other is a caller of another org.
func (s *Stack) Other() *Client {
	return &Client{URL: s.APIURL, ID: s.OtherAPIKey, Secret: s.OtherSecret}
}

// Users is the query for the users of the demo's main workspace, with more parameters (names and values by
// turns).
func (s *Stack) Users(more ...string) url.Values {
	return with(url.Values{"workspaceId": {s.WorkspaceID}, "mediumId": {s.MediumID}}, more)
}

// Messages is the query for its messages in the widest window.
func (s *Stack) Messages(more ...string) url.Values {
	return with(url.Values{"workspaceId": {s.WorkspaceID}, "mediumId": {s.MediumID}, "from": {s.From}, "to": {s.To}}, more)
}

func with(query url.Values, more []string) url.Values {
	for i := 0; i < len(more); i += 2 {
		query.Set(more[i], more[i+1])
	}
	return query
}

// Ready asks /readyz; an error is that of a request without an answer.
func (s *Stack) Ready(ctx context.Context) (status int, checks map[string]string, err error) {
	r, err := Send(ctx, http.MethodGet, s.APIURL+"/readyz", nil, nil)
	if err != nil {
		return 0, nil, err
	}
	var body struct{ Checks map[string]string }
	if err := json.Unmarshal(r.Body, &body); err != nil {
		return r.Status, nil, fmt.Errorf("readyz answered %q: %w", r.Body, err)
	}
	return r.Status, body.Checks, nil
}

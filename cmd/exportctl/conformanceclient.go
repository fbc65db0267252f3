package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"exportd/api/client"
	"exportd/internal/panics"
)

// clientCase is what a program meets, and how it must end.
type clientCase struct {
	name, remedy  string
	scenario      client.TestScenario
	loses, breaks bool // the first answer, the first download
	fails         bool // it must say so by its exit code
}

var clientCases = []clientCase{
	{name: "an export", scenario: client.TestScenarioSucceed, remedy: "see api/sandbox.md: it must work before the others are of use"},
	{name: "too many requests", scenario: client.TestScenarioRateLimit, remedy: "wait as long as Retry-After says, then ask the same again"},
	{name: "unavailable", scenario: client.TestScenarioUnavailable, remedy: "wait as long as Retry-After says, then ask the same again"},
	{name: "a lost answer", scenario: client.TestScenarioSucceed, loses: true, remedy: "ask the same again: it attaches to the job of the first request"},
	{name: "a broken download", scenario: client.TestScenarioSucceed, breaks: true, remedy: "compare what came with sizeBytes and crc32c; go on by Range, or begin again"},
	{name: "a failure to try again", scenario: client.TestScenarioFailRetryable, fails: true, remedy: "try again with a bound, then end with an exit code other than 0"},
	{name: "a final failure", scenario: client.TestScenarioFailFinal, fails: true, remedy: "end with an exit code other than 0, and keep no file"},
	{name: "a slow export", scenario: client.TestScenarioSlow, remedy: "202 is no failure: wait for the job by its Location"},
}

const (
	// mostExports is how often a program may ask for an export in a case: beyond it, it asks without heed.
	mostExports = 20
	// clockSlack is by how much a program may come before Retry-After by its own clock.
	clockSlack = 100 * time.Millisecond
	// keptOutput is what is kept of a program's output, its end.
	keptOutput = 4 << 10
)

func (a *app) conformanceClient() *cobra.Command {
	var within time.Duration
	var only []string
	cmd := &cobra.Command{
		Use: "client -- PROGRAM [ARG...]", Short: "Run a program of yours against refusals, failures and broken downloads", Args: cobra.MinimumNArgs(1),
		Long: `Runs a program once for each case, in an empty folder, with the environment variables URL,
KEY, SECRET, W (workspace) and M (channel). URL is a relay on this machine, which has the
service make the case happen: the key of the profile must be one of a sandbox. A program
passes that ends with 0 and has downloaded the whole file, if it downloads it, or ends with
another code where the export has failed. Name its files by their whole paths.`,
		Example: "  exportctl --profile sandbox conformance client -- python3 /srv/nightly.py",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, _, err := a.dial(false, fewAttempts)
			if err != nil {
				return err
			}
			cases, err := onlyNamed(clientCases, func(c clientCase) string { return c.name }, only)
			if err != nil {
				return err
			}
			verdicts, err := a.tryClient(cmd.Context(), p, cases, args, within)
			if err != nil {
				return err
			}
			return a.showVerdicts(verdicts)
		},
	}
	cmd.Flags().DurationVar(&within, "timeout", 2*time.Minute, "what a case may take")
	cmd.Flags().StringSliceVar(&only, "only", nil, "only these cases")
	return cmd
}

// tryClient runs a program in all cases behind a relay.
func (a *app) tryClient(ctx context.Context, p profile, cases []clientCase, args []string, within time.Duration) (verdicts []verdict, err error) {
	target, err := url.Parse(p.URL)
	if err != nil {
		return nil, &usageError{text: p.origin + ": its URL is none"}
	}
	program, err := exec.LookPath(args[0])
	if err == nil {
		program, err = filepath.Abs(program)
	}
	if err != nil {
		return nil, &usageError{text: "there is no program " + args[0]}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the program: %w", err)
	}
	r := &relay{target: target, key: p.Key, secret: p.Secret, now: a.now, address: "http://" + l.Addr().String(), run: rand.Text()[:8]}
	server := &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second}
	var g errgroup.Group
	g.Go(panics.Task(func() error { return server.Serve(l) }))
	workspace, medium := p.place()
	trial := &clientTrial{relay: r, program: program, args: args[1:], within: within, env: append(os.Environ(),
		"URL="+r.address, "KEY="+p.Key, "SECRET="+p.Secret, "W="+workspace, "M="+medium)}
	verdicts, err = runCases(ctx, cases, trial.run)
	_ = server.Close()
	if serr := g.Wait(); serr != nil && !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	return verdicts, err
}

// place is the workspace and channel of a case: the profile's, or any, as a sandbox has its rows in all.
func (p profile) place() (workspace, medium string) {
	return cmp.Or(p.Workspace, "sandbox-workspace"), cmp.Or(p.Medium, "sandbox-channel")
}

// clientTrial tries one program.
type clientTrial struct {
	relay   *relay
	program string
	args    []string
	env     []string
	within  time.Duration
}

// tail keeps the end of what is written.
type tail struct{ kept []byte }

func (t *tail) Write(b []byte) (int, error) {
	t.kept = append(t.kept, b...)
	t.kept = t.kept[max(0, len(t.kept)-keptOutput):]
	return len(b), nil
}

// last is the last line.
func (t *tail) last() string {
	lines := strings.Split(strings.TrimSpace(string(t.kept)), "\n")
	return lines[len(lines)-1]
}

func (c *clientTrial) run(ctx context.Context, trial clientCase) verdict {
	v := verdict{Case: trial.name, Remedy: trial.remedy}
	folder, err := os.MkdirTemp("", "conformance")
	if err != nil {
		v.Got = "no folder can be made for it: " + err.Error()
		return v
	}
	defer os.RemoveAll(folder)
	c.relay.begin(trial)
	ctx, cancel := context.WithTimeout(ctx, c.within)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.program, c.args...)
	var out tail
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = folder, c.env, &out, &out, 5*time.Second
	err = cmd.Run()
	seen := c.relay.seen()
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch early := seen.nextAt.Sub(seen.refusedAt); {
	case ctx.Err() != nil:
		v.Got = fmt.Sprintf("it did not end within %s, after %d requests for an export", c.within, seen.exports)
	case err != nil && !exited:
		v.Got = "it cannot be run: " + err.Error()
	case seen.exports == 0:
		v.Got = "it asked for no export: " + out.last()
	case seen.exports > mostExports:
		v.Got = fmt.Sprintf("it asked for the export %d times", seen.exports)
	case !seen.refusedAt.IsZero() && !seen.nextAt.IsZero() && early < seen.retryAfter-clockSlack:
		v.Got = fmt.Sprintf("it asked again after %s, and Retry-After is %s", early.Round(time.Millisecond), seen.retryAfter)
	case (err != nil) != trial.fails && exited:
		v.Got = fmt.Sprintf("exit code %d: %s", exit.ExitCode(), out.last())
	case (err != nil) != trial.fails:
		v.Got = "exit code 0, and the export has failed"
	case !trial.fails && seen.begun > 0 && seen.whole == 0:
		v.Got = "exit code 0, and no download was whole"
	default:
		v.OK, v.Remedy = true, ""
		v.Got = fmt.Sprintf("ended right, with %d requests for an export and %d downloads", seen.exports, seen.begun)
	}
	return v
}

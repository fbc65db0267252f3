package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"exportd/api/client"
)

// signFlags are the flags of sign.
type signFlags struct {
	operator, withURL bool
	version           int
	method, data      string
}

func (a *app) signCommand() *cobra.Command {
	var f signFlags
	cmd := &cobra.Command{
		Use: "sign [URL]", Short: "Print the headers of a signed request, for curl",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return oneArg("URL")(cmd, args)
		},
		Long: `Prints the headers that sign a request, as options for curl. They work for about a minute;
whoever has them can use them: do not log them.

Those of version 1 of the signature are for any request, and a key may refuse them. Those
of version 2 are for one request, once: name its URL (or the path and query of it), its
method and its body, exactly as curl will send them.

With --url the URL is printed behind them: without one given, that of the service.`,
		Example: `  curl $(exportctl sign --url)/vip-users?...   # in a shell with word splitting
  exportctl sign --json
  curl $(exportctl sign --url /workspaces)
  curl -X POST --data-binary @body.json $(exportctl sign -X POST --data @body.json --url /exports/JOB/cancel)`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := a.profile()
			if err != nil {
				return err
			}
			if f.version == 0 {
				f.version = cmp.Or(p.SignatureVersion, 1)
				if len(args) > 0 { // for a request there is the better one
					f.version = 2
				}
			}
			r, err := a.signed(p, f, args)
			if err != nil {
				return err
			}
			return a.printSigned(r, f.withURL)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.operator, "ops", false, "with the operator's key of the profile")
	flags.BoolVar(&f.withURL, "url", false, "print the URL behind them")
	flags.IntVar(&f.version, "signature-version", 0, "1 or 2 (default: 2 with a URL, else the profile's)")
	flags.StringVarP(&f.method, "request", "X", "", "method of the request (default: GET, with --data POST)")
	flags.StringVarP(&f.data, "data", "d", "", "body of the request, or @FILE that has it; @- is standard input")
	choices(cmd, "signature-version", "1", "2")
	return cmd
}

// signed is the request that is meant, with the headers that sign it.
func (a *app) signed(p profile, f signFlags, args []string) (*http.Request, error) {
	target, err := url.Parse(strings.TrimSuffix(p.URL, "/"))
	if err != nil {
		return nil, &usageError{text: fmt.Sprintf("the URL of %s is none", p.origin), hint: err.Error()}
	}
	key, secret := p.credentials(f.operator)
	switch {
	case f.version != 1 && f.version != 2:
		return nil, &usageError{text: fmt.Sprintf("--signature-version %d is neither 1 nor 2", f.version)}
	case f.version == 1 && (len(args) > 0 || f.method != "" || f.data != ""):
		return nil, &usageError{text: "a signature of version 1 is for any request", hint: "Leave out URL, -X and --data, or --signature-version 1."}
	case f.version == 1:
		r := &http.Request{URL: target, Header: http.Header{}}
		client.SetSignature(r.Header, key, secret, a.now())
		return r, nil
	case len(args) == 0:
		return nil, &usageError{
			text: "a signature of version 2 is for one request: its URL is missing",
			hint: "like: exportctl sign /workspaces",
		}
	}
	given, err := url.Parse(args[0])
	if err != nil || given.Host == "" && !strings.HasPrefix(args[0], "/") || given.User != nil || given.Fragment != "" {
		return nil, &usageError{text: fmt.Sprintf("%q is neither a URL nor a path with a query", args[0]), hint: "like: /workspaces, or " + p.URL + "/workspaces"}
	}
	if given.Host == "" {
		if given, err = url.Parse(target.String() + args[0]); err != nil {
			return nil, &usageError{text: fmt.Sprintf("%q is no path with a query", args[0])}
		}
	}
	body, err := a.readData(f.data)
	if err != nil {
		return nil, err
	}
	method := f.method
	if method == "" {
		method = http.MethodGet
		if f.data != "" {
			method = http.MethodPost
		}
	}
	r := &http.Request{Method: strings.ToUpper(method), URL: given, Host: sentHost(given), Header: http.Header{}}
	client.SetSignature2(r, body, key, secret, a.now())
	return r, nil
}

// sentHost is what curl sends as Host: without the port that the scheme has anyway.
func sentHost(u *url.URL) string {
	if port := u.Port(); u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		return strings.TrimSuffix(u.Host, ":"+port)
	}
	return u.Host
}

// maxSignedBody is what the service takes.
const maxSignedBody = 64 << 10

// readData reads a body as curl's --data-binary does.
func (a *app) readData(data string) ([]byte, error) {
	name, isFile := strings.CutPrefix(data, "@")
	if !isFile {
		return []byte(data), nil
	}
	from := a.stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("read --data: %w", err)
		}
		defer file.Close()
		from = file
	}
	var body bytes.Buffer
	if n, err := body.ReadFrom(io.LimitReader(from, maxSignedBody+1)); err != nil {
		return nil, fmt.Errorf("read --data: %w", err)
	} else if n > maxSignedBody {
		return nil, errors.New("read --data: over 64 KiB, which the service does not take")
	}
	return body.Bytes(), nil
}

// printSigned prints the headers, for curl or as JSON.
func (a *app) printSigned(r *http.Request, withURL bool) error {
	headers := map[string]string{}
	var words []string
	for _, name := range []string{"x-api-key", "x-date", "x-signature", "x-signature-version", "x-nonce", "x-content-sha256"} {
		if v := r.Header.Get(name); v != "" {
			headers[name] = v
			words = append(words, "-H "+name+":"+v) // no space in any of them, so that $(...) splits them right
		}
	}
	if a.asJSON {
		return a.printValue(headers)
	}
	if withURL {
		words = append(words, r.URL.String())
	}
	fmt.Fprintln(a.stdout, clean(strings.Join(words, " "), false))
	return nil
}

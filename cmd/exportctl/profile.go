package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"exportd/api/client"
)

// demoPath is where "exportd-dev run" leaves what a client needs.
const demoPath = ".data/demo.json"

// profile is a service and who to be there.
type profile struct {
	URL    string `json:"url"`
	Key    string `json:"key"`
	Secret string `json:"secret"`
	// OpsKey and OpsSecret are for the commands of operators, if those need another key.
	OpsKey    string `json:"opsKey,omitempty"`
	OpsSecret string `json:"opsSecret,omitempty"`
	// SignatureVersion is how requests are signed, 1 or 2; 2 if 0. It is 2 for keys that require it.
	SignatureVersion int `json:"signatureVersion,omitempty"`
	// The others are what flags are where they are not given.
	Workspace     string `json:"workspace,omitempty"`
	Medium        string `json:"medium,omitempty"`
	From          string `json:"from,omitempty"`
	To            string `json:"to,omitempty"`
	WebhookSecret string `json:"webhookSecret,omitempty"`

	origin string // for messages
	// flag is how to name this profile on a command line, "" if it is found without.
	flag string
}

// configFile is the file of profiles.
type configFile struct {
	Default  string             `json:"default,omitempty"`
	Profiles map[string]profile `json:"profiles"`
}

// configPath is where the file of profiles is, there or not.
func (a *app) configPath() (string, error) {
	dir := a.getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) { // as the XDG specification demands
		home := a.getenv("HOME")
		if home == "" {
			home, _ = os.UserHomeDir()
		}
		if home == "" {
			return "", errors.New("neither XDG_CONFIG_HOME nor HOME says where the config file is")
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "exportctl", "config.json"), nil
}

// readConfig reads the file of profiles; one that is missing is an empty one.
func (a *app) readConfig() (configFile, string, error) {
	empty := configFile{Profiles: map[string]profile{}}
	path, err := a.configPath()
	if err != nil {
		return empty, "", nil // no home, no file
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return empty, path, nil
	}
	if err != nil {
		return empty, path, fmt.Errorf("read config: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return empty, path, &usageError{
			text: fmt.Sprintf("%s holds secrets, and others may read it (mode %04o)", path, info.Mode().Perm()),
			hint: "chmod 600 " + quote(path),
		}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return empty, path, fmt.Errorf("read config: %w", err)
	}
	c := empty
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return empty, path, &usageError{text: fmt.Sprintf("%s is not a config file: %v", path, err)}
	}
	if c.Profiles == nil {
		c.Profiles = map[string]profile{}
	}
	return c, path, nil
}

// writeConfig replaces the file of profiles.
func writeConfig(c configFile, path string) error {
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("encode config: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write config: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".config-*.json") // mode 0600
	if err != nil {
		return fmt.Errorf("write config: %w", err)
	}
	defer os.Remove(f.Name()) // nothing there once it is renamed
	_, err = f.Write(append(raw, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write config: %w", err)
	}
	return nil
}

// profile finds the service to talk to, in the order that the help gives.
func (a *app) profile() (profile, error) {
	name := a.profileName
	if name == "" {
		name = a.getenv("EXPORTCTL_PROFILE")
	}
	config, path, err := a.readConfig()
	if err != nil {
		return profile{}, err
	}
	switch {
	case name != "" && (strings.ContainsRune(name, '/') || strings.HasSuffix(name, ".json")):
		p, err := readDemo(name)
		p.flag = name
		return p, err
	case name != "":
		p, ok := config.Profiles[name]
		if !ok {
			return p, unknownProfile(name, path)
		}
		p.origin, p.flag = "profile "+name, name
		return p, nil
	case a.getenv("EXPORTCTL_URL") != "":
		return a.environmentProfile()
	case config.Default != "":
		p, ok := config.Profiles[config.Default]
		if !ok {
			return p, unknownProfile(config.Default, path)
		}
		p.origin = "profile " + config.Default
		return p, nil
	}
	p, err := readDemo(demoPath)
	if errors.Is(err, fs.ErrNotExist) {
		return p, &usageError{
			text: "no service to talk to",
			hint: "Start one here:       exportd-dev run\nor name one:          exportctl profiles add NAME --url URL --key KEY\nor set the variables: EXPORTCTL_URL, EXPORTCTL_KEY and EXPORTCTL_SECRET",
		}
	}
	return p, err
}

func unknownProfile(name, path string) error {
	hint := "The profiles of " + path + " are in: exportctl profiles list"
	if name == string(client.ProfileExcel) || name == string(client.ProfileRfc4180) {
		hint = "For the form of the CSV file there is --csv-profile " + name
	}
	return &usageError{text: fmt.Sprintf("no profile %q", name), hint: hint}
}

func (a *app) environmentProfile() (profile, error) {
	p := profile{
		URL: a.getenv("EXPORTCTL_URL"), Key: a.getenv("EXPORTCTL_KEY"), Secret: a.getenv("EXPORTCTL_SECRET"), origin: "EXPORTCTL_URL",
	}
	for name, value := range map[string]string{"EXPORTCTL_KEY": p.Key, "EXPORTCTL_SECRET": p.Secret} {
		if value == "" {
			return p, &usageError{text: "EXPORTCTL_URL is set, and " + name + " is not"}
		}
	}
	switch v := a.getenv("EXPORTCTL_SIGNATURE_VERSION"); v {
	case "":
	case "1", "2":
		p.SignatureVersion = int(v[0] - '0')
	default:
		return p, &usageError{text: fmt.Sprintf("EXPORTCTL_SIGNATURE_VERSION is %q, not 1 or 2", v)}
	}
	return p, nil
}

// readDemo reads what "exportd-dev run" wrote.
func readDemo(path string) (profile, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return profile{}, fmt.Errorf("read profile: %w", err)
	}
	var d struct {
		APIURL        string `json:"apiUrl"`
		APIKey        string `json:"apiKey"`
		Secret        string `json:"secret"`
		OpsAPIKey     string `json:"opsApiKey"`
		OpsSecret     string `json:"opsSecret"`
		WebhookSecret string `json:"webhookSecret"`
		Version       int    `json:"signatureVersion"`
		WorkspaceID   string `json:"workspaceId"`
		MediumID      string `json:"mediumId"`
		From          string `json:"from"`
		To            string `json:"to"`
	}
	if err := json.Unmarshal(raw, &d); err != nil || d.APIURL == "" {
		return profile{}, &usageError{text: path + " is not a demo.json", hint: "exportd-dev run writes one"}
	}
	return profile{
		URL: d.APIURL, Key: d.APIKey, Secret: d.Secret, OpsKey: d.OpsAPIKey, OpsSecret: d.OpsSecret, Workspace: d.WorkspaceID, Medium: d.MediumID,
		From: d.From, To: d.To, WebhookSecret: d.WebhookSecret, SignatureVersion: d.Version, origin: path,
	}, nil
}

// credentials are the key and secret to use.
func (p profile) credentials(operator bool) (key, secret string) {
	if operator && p.OpsKey != "" {
		return p.OpsKey, p.OpsSecret
	}
	return p.Key, p.Secret
}

// Tries of requests. A person waits for an answer; a job is worth waiting for.
const (
	fewAttempts  = 3
	manyAttempts = 10
)

// connect makes a client.
func (a *app) connect(p profile, operator bool, tries int) (*client.Client, error) {
	key, secret := p.credentials(operator)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = answerWithin
	c, err := client.New(client.Config{
		BaseURL: p.URL, Key: key, Secret: secret, UserAgent: "exportctl", Attempts: tries, Now: a.now,
		SignatureVersion: cmp.Or(p.SignatureVersion, 2),
		Transport:        &retryNotice{next: transport, tell: a.say},
	})
	if err != nil {
		return nil, &usageError{text: p.origin + ": " + err.Error()}
	}
	return c, nil
}

// dial is profile and connect in one.
func (a *app) dial(operator bool, tries int) (profile, *client.Client, error) {
	p, err := a.profile()
	if err != nil {
		return p, nil, err
	}
	c, err := a.connect(p, operator, tries)
	return p, c, err
}

// service is dial for commands that do not name the service.
func (a *app) service(operator bool, tries int) (*client.Client, error) {
	_, c, err := a.dial(operator, tries)
	return c, err
}

// quote makes a word for a POSIX shell of s.
func quote(s string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=@%+,", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !safe(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

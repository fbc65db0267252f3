package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"exportd/api/client"
)

func (a *app) profilesCommand() *cobra.Command {
	cmd := parent("profiles", "Manage the services and keys that exportctl knows",
		a.profilesList(), a.profilesAdd(), a.profilesUse(), a.profilesRemove())
	cmd.Long = `Profiles are services and keys, kept in $XDG_CONFIG_HOME/exportctl/config.json
(~/.config/exportctl/config.json), which only you may read.`
	return cmd
}

func (a *app) profilesList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List profiles; the one in use has a *", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, path, err := a.readConfig()
			if err != nil {
				return err
			}
			used, useErr := a.profile()
			type shown struct {
				Name   string `json:"name"`
				URL    string `json:"url"`
				Key    string `json:"key"`
				OpsKey string `json:"opsKey,omitempty"`
				Used   bool   `json:"used"`
			}
			var list []shown
			known := false
			for _, name := range slices.Sorted(maps.Keys(config.Profiles)) {
				p := config.Profiles[name]
				inUse := useErr == nil && used.origin == "profile "+name
				known = known || inUse
				list = append(list, shown{name, p.URL, p.Key, p.OpsKey, inUse})
			}
			if useErr == nil && !known {
				list = append(list, shown{used.origin, used.URL, used.Key, used.OpsKey, true})
			}
			if a.asJSON {
				return a.printValue(map[string]any{"config": path, "profiles": slices.Concat([]shown{}, list)})
			}
			if len(list) == 0 {
				return useErr
			}
			rows := make([][]cell, len(list))
			for i, p := range list {
				mark := ""
				if p.Used {
					mark = "*"
				}
				rows[i] = []cell{{mark, green}, words(p.Name), words(p.URL), words(p.Key), words(p.OpsKey)}
			}
			a.table([]column{{name: ""}, {name: "PROFILE"}, {name: "URL"}, {name: "KEY"}, {name: "OPS KEY"}}, rows)
			return nil
		},
	}
}

// profileName is what needs no quotes and cannot be mistaken for a path.
var profileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

func (a *app) profilesAdd() *cobra.Command {
	var p profile
	var makeDefault bool
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Add a profile, or replace one", Args: oneArg("name"),
		Long: `Adds a profile. The secret is asked for on a terminal, else read from standard
input; with --ops-key the secret of that key comes after it, on a line of its own.`,
		Example: "  exportctl profiles add prod --url https://exports.example.com --key key_123\n  pass show exportd/prod | exportctl profiles add prod --url https://exports.example.com --key key_123",
		RunE: func(cmd *cobra.Command, args []string) error {
			if p.URL == "" || p.Key == "" {
				return &usageError{text: "--url and --key are required", hint: "see: " + cmd.CommandPath() + " --help"}
			}
			if !profileName.MatchString(args[0]) {
				return &usageError{text: fmt.Sprintf("profile name %q is not letters, digits, _ and -", args[0])}
			}
			config, path, err := a.readConfig()
			if err != nil {
				return err
			}
			if path == "" {
				return errors.New("neither XDG_CONFIG_HOME nor HOME says where the config file is")
			}
			if err := a.readSecrets(&p); err != nil {
				return err
			}
			// What the client would refuse should not come into the file.
			if _, err := client.New(client.Config{BaseURL: p.URL, Key: p.Key, Secret: p.Secret, SignatureVersion: p.SignatureVersion}); err != nil {
				return &usageError{text: err.Error()}
			}
			config.Profiles[args[0]] = p
			if makeDefault || len(config.Profiles) == 1 {
				config.Default = args[0]
			}
			if err := writeConfig(config, path); err != nil {
				return err
			}
			a.say("Profile %s is in %s.", args[0], path)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&p.URL, "url", "", "URL of the service, like https://exports.example.com")
	flags.StringVar(&p.Key, "key", "", "id of the API key")
	flags.StringVar(&p.OpsKey, "ops-key", "", "id of another API key, for the commands of operators")
	flags.StringVar(&p.Workspace, "workspace", "", "what --workspace is where it is not given")
	flags.StringVar(&p.Medium, "medium", "", "what --medium is where it is not given")
	flags.IntVar(&p.SignatureVersion, "signature-version", 0, "1 or 2: 2, the default, signs so that a signature works for one request, once")
	choices(cmd, "signature-version", "1", "2")
	flags.BoolVar(&makeDefault, "default", false, "use it where no profile is given")
	return cmd
}

// readSecrets asks for the secrets of a profile, which must not be on a command line: those are for all to
// see.
func (a *app) readSecrets(p *profile) error {
	asked := []*string{&p.Secret}
	keys := []string{p.Key}
	if p.OpsKey != "" {
		asked, keys = append(asked, &p.OpsSecret), append(keys, p.OpsKey)
	}
	if !a.stdinTerminal {
		raw, err := io.ReadAll(io.LimitReader(a.stdin, 64<<10))
		if err != nil {
			return fmt.Errorf("read secret: %w", err)
		}
		lines := bytes.Split(bytes.TrimRight(raw, "\r\n"), []byte("\n"))
		if len(lines) != len(asked) {
			return &usageError{text: fmt.Sprintf("standard input has %s, for %s", plural(int64(len(lines)), "line", "lines"), plural(int64(len(asked)), "secret", "secrets"))}
		}
		for i, line := range lines {
			*asked[i] = strings.TrimSpace(string(line))
		}
	} else {
		for i, to := range asked {
			fmt.Fprintf(a.stderr, "Secret of %s: ", clean(keys[i], false))
			raw, err := a.readSecret()
			fmt.Fprintln(a.stderr)
			if err != nil {
				return fmt.Errorf("read secret: %w", err)
			}
			*to = strings.TrimSpace(string(raw))
		}
	}
	for i, s := range asked {
		if *s == "" {
			return &usageError{text: "the secret of " + keys[i] + " is empty"}
		}
	}
	return nil
}

func (a *app) profilesUse() *cobra.Command {
	return &cobra.Command{
		Use: "use NAME", Short: "Use a profile where none is given", Args: oneArg("name"), ValidArgsFunction: a.completeProfiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeConfig(args[0], func(c *configFile) { c.Default = args[0] })
		},
	}
}

func (a *app) profilesRemove() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Aliases: []string{"rm"}, Short: "Remove a profile", Args: oneArg("name"), ValidArgsFunction: a.completeProfiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeConfig(args[0], func(c *configFile) {
				delete(c.Profiles, args[0])
				if c.Default == args[0] {
					c.Default = ""
				}
			})
		},
	}
}

func (a *app) changeConfig(name string, change func(*configFile)) error {
	config, path, err := a.readConfig()
	if err != nil {
		return err
	}
	if _, ok := config.Profiles[name]; !ok {
		return unknownProfile(name, path)
	}
	change(&config)
	return writeConfig(config, path)
}

func (a *app) completeProfiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	config, _, _ := a.readConfig() // no file, no names
	return slices.Sorted(maps.Keys(config.Profiles)), cobra.ShellCompDirectiveNoFileComp
}

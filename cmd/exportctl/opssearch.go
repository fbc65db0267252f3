package main

import (
	"strings"

	"github.com/spf13/cobra"

	"exportd/api/client"
)

// searchFlags are what jobs are searched by that no index leads to.
type searchFlags struct {
	request, batch, host, text, label, contentType string
	minAttempts                                    int
	slow                                           bool
}

func (s *searchFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&s.request, "request", "", "only the jobs of this request id; this and the flags below read through jobs, 2,000 a page")
	flags.StringVar(&s.batch, "batch", "", "only jobs that this batch ran again last")
	flags.StringVar(&s.host, "callback-host", "", "only jobs that call this host back")
	flags.StringVar(&s.text, "text", "", "only jobs with this in their error")
	flags.StringVar(&s.label, "label", "", "only jobs whose request has this label")
	flags.StringVar(&s.contentType, "content-type", "", "only jobs whose request has this content type")
	flags.IntVar(&s.minAttempts, "min-attempts", 0, "only jobs that were attempted so often or more")
	flags.BoolVar(&s.slow, "slow", false, "only jobs that took longer than expected")
}

func (a *app) opsSearch() *cobra.Command {
	var page pageFlags
	cmd := &cobra.Command{
		Use: "search TERM...", Short: "Find jobs of all orgs by anything that is known of them",
		Long: `Lists the jobs that all terms fit. A term is NAME:VALUE or NAME=VALUE of: state, kind,
orgId, workspaceId, errorCode, cause, createdAfter, createdBefore, age, jobId, rerunOf,
requestId, batch, callbackHost, text, label, contentType, minAttempts, slow. A value with
blanks or commas is in quotes. A word alone is a job's id, a cause's, or text of the error.
Pages of the console and the API take the same as q.

By requestId and all behind it, jobs are read to find those that fit: name a state, an org or
an age too where there are many.`,
		Example: `  exportctl ops search connection reset
  exportctl ops search 'state:failed age:<12h callbackHost:hooks.example.com'
  exportctl ops search 'text:"no index" label:vip'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &usageError{text: "no term says what to search", hint: "see: " + cmd.CommandPath() + " --help"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.listOpsJobs(cmd.Context(), page, client.OpsListJobsParams{Q: given(strings.Join(args, " "))})
		},
	}
	page.addTokens(cmd, 20)
	return cmd
}

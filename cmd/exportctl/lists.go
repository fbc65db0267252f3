package main

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"exportd/api/client"
)

// mostRows is the largest page of users and messages.
const mostRows = 200

// scoped fills the flags from the profile and makes a client for it.
func (a *app) scoped(f *scopeFlags) (*client.Client, error) {
	p, err := a.profile()
	if err != nil {
		return nil, err
	}
	f.fill(p)
	return a.connect(p, false, fewTries)
}

func (a *app) usersCommand() *cobra.Command {
	var f scopeFlags
	var page pageFlags
	var birthday bool
	var month, offset int
	cmd := &cobra.Command{
		Use: "users", Short: "List VIP users, highest LTV first", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := page.check(); err != nil {
				return err
			}
			c, err := a.scoped(&f)
			if err != nil {
				return err
			}
			all := userList{Users: []json.RawMessage{}}
			for next := &offset; next != nil; {
				n := page.left(len(all.Users), mostRows)
				if n <= 0 {
					break
				}
				r, err := c.ListUsersWithResponse(cmd.Context(), &client.ListUsersParams{
					WorkspaceID: f.workspace, MediumID: f.medium, HasBirthday: given(birthday), BirthdayMonth: given(month), Limit: &n, Offset: next,
				})
				if err != nil {
					return err
				}
				var got userList
				if err := json.Unmarshal(r.Body, &got); err != nil {
					return fmt.Errorf("read users: %w", err)
				}
				got.Users = append(all.Users, got.Users...)
				all, next = got, got.NextOffset
			}
			return a.showUsers(all)
		},
	}
	f.add(cmd, false)
	page.add(cmd, 50)
	cmd.Flags().BoolVar(&birthday, "has-birthday", false, "only users whose birthday is known")
	cmd.Flags().IntVar(&month, "birthday-month", 0, "only users born in this month, 1 to 12")
	cmd.Flags().IntVar(&offset, "offset", 0, "how many to skip")
	return cmd
}

type userList struct {
	Total      int64             `json:"total"`
	NextOffset *int              `json:"nextOffset"`
	Users      []json.RawMessage `json:"users"`
}

func (a *app) showUsers(l userList) error {
	if a.asJSON {
		return a.printValue(l)
	}
	var rows [][]cell
	for _, raw := range l.Users {
		var u client.User
		if err := json.Unmarshal(raw, &u); err != nil {
			return fmt.Errorf("read user: %w", err)
		}
		rows = append(rows, []cell{
			words(u.ID), words(u.DisplayName), money(u.LTV), words(u.Currency), words(u.Tier), optional(u.PersonalInfo.Birthday), words(u.Country), words(u.PlayerID),
		})
	}
	if len(rows) > 0 {
		a.table([]column{
			{name: "USER"}, {name: "NAME", flexible: true}, {name: "LTV", right: true}, {name: ""}, {name: "TIER"},
			{name: "BIRTHDAY", extra: true}, {name: "COUNTRY", extra: true}, {name: "PLAYER", flexible: true, extra: true},
		}, rows)
	}
	a.say("%s of %s.", thousands(int64(len(rows))), plural(l.Total, "user", "users"))
	return nil
}

// money shows an LTV, which is any number or, where the source holds something else, text.
func money(v *any) cell {
	if v == nil {
		return cell{}
	}
	switch n, ok := (*v).(float64); {
	case !ok:
		return words(fmt.Sprint(*v))
	case math.Abs(n) < 1e12:
		return words(strconv.FormatFloat(n, 'f', 2, 64))
	default:
		return words(strconv.FormatFloat(n, 'g', -1, 64))
	}
}

func (a *app) messagesCommand() *cobra.Command {
	var f scopeFlags
	var page pageFlags
	var label, contentType, before string
	cmd := &cobra.Command{
		Use: "messages", Short: "List VIP messages, newest first", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := page.check(); err != nil {
				return err
			}
			c, err := a.scoped(&f)
			if err != nil {
				return err
			}
			all := messageList{Messages: []json.RawMessage{}}
			for next := &before; next != nil; {
				n := page.left(len(all.Messages), mostRows)
				if n <= 0 {
					break
				}
				r, err := c.ListMessagesWithResponse(cmd.Context(), &client.ListMessagesParams{
					WorkspaceID: f.workspace, MediumID: f.medium, From: f.from, To: f.to, Label: given(label),
					ContentType: given(client.ContentType(contentType)), Before: given(*next), Limit: &n,
				})
				if err != nil {
					return err
				}
				var got messageList
				if err := json.Unmarshal(r.Body, &got); err != nil {
					return fmt.Errorf("read messages: %w", err)
				}
				got.Messages = append(all.Messages, got.Messages...)
				all, next = got, got.NextCursor
			}
			return a.showMessages(all)
		},
	}
	f.add(cmd, true)
	page.add(cmd, 50)
	cmd.Flags().StringVar(&label, "label", "", "only messages with this label")
	cmd.Flags().StringVar(&contentType, "content-type", "", "only messages of this kind: text, postback, attachment, other")
	cmd.Flags().StringVar(&before, "before", "", "only older messages: an instant, or a nextCursor")
	choices(cmd, "content-type", "text", "postback", "attachment", "other")
	return cmd
}

// moment is instant for a time in text; what is none stays as it is.
func moment(s string) cell {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return instant(&t)
	}
	return words(s)
}

type messageList struct {
	Messages   []json.RawMessage `json:"messages"`
	NextCursor *string           `json:"nextCursor"`
}

func (a *app) showMessages(l messageList) error {
	if a.asJSON {
		return a.printValue(l)
	}
	var rows [][]cell
	for _, raw := range l.Messages {
		var m client.Message
		if err := json.Unmarshal(raw, &m); err != nil {
			return fmt.Errorf("read message: %w", err)
		}
		rows = append(rows, []cell{
			moment(m.Timestamp), words(m.DisplayName), words(m.Text), words(strings.Join(m.Labels, ",")), words(m.Source), words(m.Kind), words(m.PlayerID),
		})
	}
	if len(rows) == 0 {
		a.say("No messages.")
		return nil
	}
	a.table([]column{
		{name: "TIME (UTC)"}, {name: "NAME", flexible: true}, {name: "TEXT", flexible: true}, {name: "LABELS", flexible: true, extra: true},
		{name: "FROM"}, {name: "KIND", extra: true}, {name: "PLAYER", flexible: true, extra: true},
	}, rows)
	if l.NextCursor != nil {
		a.say("There are more: --limit N or --all shows them.")
	}
	return nil
}

func (a *app) labelsCommand() *cobra.Command {
	var f scopeFlags
	cmd := &cobra.Command{
		Use: "labels", Short: "Count the labels of VIP messages", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.scoped(&f)
			if err != nil {
				return err
			}
			r, err := c.LabelOverviewWithResponse(cmd.Context(), &client.LabelOverviewParams{WorkspaceID: f.workspace, MediumID: f.medium, From: f.from, To: f.to})
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(r.Body)
			}
			var rows [][]cell
			for _, l := range r.JSON200.Labels {
				rows = append(rows, []cell{number(l.Count), words(l.Label)})
			}
			if len(rows) > 0 {
				a.table([]column{{name: "MESSAGES", right: true}, {name: "LABEL", flexible: true}}, rows)
			}
			a.say("%s, %s in all.", plural(int64(len(rows)), "label", "labels"), plural(r.JSON200.Total, "message", "messages"))
			return nil
		},
	}
	f.add(cmd, true)
	return cmd
}

func (a *app) workspacesCommand() *cobra.Command {
	return &cobra.Command{
		Use: "workspaces", Short: "List the workspaces of your org", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.service(false, fewTries)
			if err != nil {
				return err
			}
			r, err := c.ListWorkspacesWithResponse(cmd.Context())
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(r.Body)
			}
			var rows [][]cell
			for _, w := range r.JSON200.Workspaces {
				vip := faint("no")
				if w.IsVip {
					vip = cell{"yes", green}
				}
				rows = append(rows, []cell{words(w.ID), vip, words(w.Name), words(strings.Join(w.ChannelIds, ","))})
			}
			if len(rows) == 0 {
				a.say("No workspaces.")
				return nil
			}
			a.table([]column{{name: "WORKSPACE"}, {name: "VIP"}, {name: "NAME", flexible: true}, {name: "CHANNELS", flexible: true}}, rows)
			return nil
		},
	}
}

func (a *app) channelsCommand() *cobra.Command {
	var workspace string
	cmd := &cobra.Command{
		Use: "channels", Short: "List the channels of your org, whose ids --medium takes", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.service(false, fewTries)
			if err != nil {
				return err
			}
			r, err := c.ListChannelsWithResponse(cmd.Context(), &client.ListChannelsParams{WorkspaceID: given(workspace)})
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(r.Body)
			}
			var rows [][]cell
			for _, ch := range r.JSON200.Channels {
				rows = append(rows, []cell{words(ch.ID), words(ch.Platform), words(ch.Name), words(strings.Join(ch.WorkspaceIds, ","))})
			}
			if len(rows) == 0 {
				a.say("No channels.")
				return nil
			}
			a.table([]column{{name: "CHANNEL"}, {name: "PLATFORM"}, {name: "NAME", flexible: true}, {name: "WORKSPACES", flexible: true}}, rows)
			return nil
		},
	}
	cmd.Flags().StringVarP(&workspace, "workspace", "w", "", "only channels connected to this workspace")
	return cmd
}

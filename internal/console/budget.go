package console

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"exportd/api/client"
)

// budgetForm changes what the exports of a key may come to in a day.
type budgetForm struct {
	Once   string
	Fault  string // why it was not done
	Fields []budgetField
}

// budgetField is a limit, or the reason. Seen is the limit that the form was made of: one that somebody
// changes meanwhile is not overwritten.
type budgetField struct {
	Name, ID, Label    string
	Value, Seen, Fault string
	Limit              bool
}

// Wrong reports whether a field has a fault, which says more than the form's.
func (f budgetForm) Wrong() bool {
	return slices.ContainsFunc(f.Fields, func(field budgetField) bool { return field.Fault != "" })
}

// seenPrefix is before the name of a limit in the form, for the one that it was made of.
const seenPrefix = "seen."

func budgetOf(k *client.APIKey) budgetForm {
	limit := func(name, id, label string, n *int64) budgetField {
		text := ""
		if n != nil {
			text = strconv.FormatInt(*n, 10)
		}
		return budgetField{Name: name, ID: id, Label: label + "; empty: no limit", Value: text, Seen: text, Limit: true}
	}
	return budgetForm{Once: rand.Text(), Fields: []budgetField{
		limit("rowsPerDay", "rows", "Rows", k.RowsPerDay), limit("readsPerDay", "reads", "Documents read", k.ReadsPerDay), {Name: "reason", ID: "budget-reason", Label: "Why"},
	}}
}

// setBudget sets both limits as the form has them; an empty one is none.
func (c *Console) setBudget(w http.ResponseWriter, r *http.Request, who *principal) error {
	id := r.PathValue("id")
	page := home + "/keys/" + url.PathEscape(id)
	limits, seen := map[string]any{"reason": strings.TrimSpace(r.PostFormValue("reason"))}, map[string]any{}
	for _, name := range []string{"rowsPerDay", "readsPerDay"} {
		limits[name], seen[name] = limitOf(r.PostFormValue(name)), limitOf(r.PostFormValue(seenPrefix+name))
	}
	limits["expected"] = seen
	_, err := c.api.SetKeyBudgetWithBodyWithResponse(c.asking(r, who), id, asJSON, body(limits), c.once(r, "budget "+id))
	refused, ok := refusal(err)
	switch {
	case err == nil:
		http.Redirect(w, r, page+"?said=budget", http.StatusSeeOther)
	case ok && madeBefore(refused): // the page shows what came of it
		http.Redirect(w, r, page, http.StatusSeeOther)
	case ok && (refused.Status == http.StatusConflict || refused.Status == http.StatusUnprocessableEntity):
		return c.budgetAgain(w, r, who, refused)
	default:
		return err
	}
	return nil
}

// limitOf is what a field says for a limit, as the API takes it.
func limitOf(text string) any {
	if text = strings.NewReplacer(",", "", " ", "").Replace(text); text != "" {
		return text
	}
	return nil
}

// budgetAgain shows the form once more, with what was typed and why nothing was done. Where that is a change
// by somebody else, the form tells it, and is of the budget as it is by now.
func (c *Console) budgetAgain(w http.ResponseWriter, r *http.Request, who *principal, refused *client.Error) error {
	p, err := c.readKey(c.asking(r, who), who, r.PathValue("id"))
	if err != nil {
		return err
	}
	f := &p.Budget
	f.Fault = sentence(refused.Message)
	p.Fault = f.Fault
	for i := range f.Fields {
		field := &f.Fields[i]
		field.Value = r.PostFormValue(field.Name)
		if refused.Status != http.StatusConflict {
			field.Seen = r.PostFormValue(seenPrefix + field.Name)
		}
		for _, fault := range refused.Faults {
			if slices.Equal(fault.Path, []string{field.Name}) {
				field.Fault = sentence(strings.TrimPrefix(fault.Message, strconv.Quote(field.Name)+" "))
			}
		}
	}
	if f.Fault == "" && !f.Wrong() {
		f.Fault = sentence(faultTexts(refused.Faults))
	}
	c.render(w, r, who, refused.Status, "key", "A key", p)
	return nil
}

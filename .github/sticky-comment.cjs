// The gate's one comment on a pull request: made once, then kept up to date. Used by workflows/gate-comment.yml.
const fs = require('node:fs')

const MARKER = '<!-- moe-router-gate -->'
const LONGEST = 65536 // characters that GitHub takes
const BOT = 'github-actions[bot]' // whose comments the workflow's token writes

module.exports = async ({ github, context, core, file }) => {
  const body = fs.readFileSync(file, 'utf8')
  if (!body.startsWith(MARKER)) return core.setFailed('the rendered file holds no result of the gate')
  if (body.length > LONGEST) return core.setFailed('the result is longer than a comment may be')

  // Which pull request the run judged is what GitHub's own event says; nothing in it was written by the run.
  const run = context.payload.workflow_run
  const where = { owner: context.repo.owner, repo: context.repo.repo }
  const head = `${run.head_repository?.owner?.login}:${run.head_branch}`
  const pulls = await github.paginate(github.rest.pulls.list, { ...where, state: 'open', head })
  const pull = pulls.find((each) => each.head?.sha === run.head_sha)
  if (!pull) return core.setFailed('no open pull request has the head that the run judged')

  const comments = await github.paginate(github.rest.issues.listComments, { ...where, issue_number: pull.number })
  // A deleted user is null, and another bot may quote the marker.
  const ours = comments.find((each) => each.user?.login === BOT && each.body?.startsWith(MARKER))
  if (ours) await github.rest.issues.updateComment({ ...where, comment_id: ours.id, body })
  else await github.rest.issues.createComment({ ...where, issue_number: pull.number, body })
}

-- Routes PET studies from Orthanc to theramap: PET and CT, edited segmentations, reports of readers.
--
-- A series is sent when its study is stable, and again when it has grown. What theramap itself wrote is not
-- sent back. What was not taken is owed: it is tried again with Orthanc's heartbeat and when another study is
-- stable, ever later. When Orthanc starts, what is missing of the latest studies is owed, too.

local MODALITY = 'theramap' -- its name in DicomModalities of Orthanc's configuration
local LOOK_BACK_DAYS = 3 -- by their Study Date, studies that are looked through when Orthanc starts
local PRIORITY = -10 -- below Orthanc's other transfers
local ECHO_S = 3 -- how long theramap may take to say that it is there
local FIRST_PAUSE_S, LONGEST_PAUSE_S = 60, 6 * 3600 -- after the second failure in a row, and in the end
local IMAGES = {PT = true, CT = true}
local ANSWERS = {SEG = true, SR = true} -- what a reader may send back
local SENT = '4201' -- metadata of a series: what it was when it was last sent

local OUR_MODEL = 'theramap PET/CT'
local OUR_STATUS_MODEL = 'theramap' -- of notes that a study was refused or withdrawn
local OUR_UIDS = '2.25.'
local OUR_LABELS = {THERAMAP = true, REGIONS = true}
local PROCESSING_EQUIPMENT = '109102' -- DICOM PS3.16, CID 7005

-- study -> {failures in a row, whether the last was a refusal, when it is due, the job that sends it, whether it grew}
local owed = {}
local jobs = {} -- job -> {study, series -> what it was, permissive}

local function ask(path)
  return ParseJson(RestApiGet(path))
end

-- Reads the attributes of an instance, or of an item in it: a function from tag to text, '' for what is not
-- there (Orthanc logs an error when it is asked for that), and from tag to whether it is there.
local function reader(path)
  local has = {}
  for _, tag in ipairs(ask(path)) do
    has[tag] = true
  end
  local function text(tag)
    return has[tag] and (RestApiGet(path .. '/' .. tag):gsub('[%z ]+$', '')) or ''
  end
  return text, has
end

-- A date and time without the zeros that end its fraction.
local function moment(stated)
  return stated:find('.', 1, true) and (stated:gsub('0+$', ''):gsub('%.$', '')) or stated
end

-- Whether an item of Contributing Equipment is the program that wrote the instance, at the given moment.
local function made_it(item, written)
  local text, has = reader(item)
  return text('0008-1090') == OUR_MODEL
    and moment(text('0018-a002')) == written
    and has['0040-a170']
    and reader(item .. '/0040-a170/0')('0008-0100') == PROCESSING_EQUIPMENT
end

-- Whether theramap wrote it: UIDs, model, label and moment are all ours. An editor changes one of them, and
-- what it wrote is sent; whether that is an answer, theramap judges.
local function is_ours(instance)
  local path = '/instances/' .. instance .. '/content'
  local text, has = reader(path)
  if text('0008-1090') == OUR_STATUS_MODEL and text('0008-0018'):sub(1, #OUR_UIDS) == OUR_UIDS then
    return true
  end
  local written = moment(text('0008-0023') .. text('0008-0033'))
  if
    text('0008-1090') ~= OUR_MODEL
    or text('0008-0018'):sub(1, #OUR_UIDS) ~= OUR_UIDS
    or text('0020-000e'):sub(1, #OUR_UIDS) ~= OUR_UIDS
    or text('0008-0060') == 'SEG' and not OUR_LABELS[text('0070-0080')]
    or moment(text('0008-0021') .. text('0008-0031')) ~= written
    or not has['0018-a001']
  then
    return false
  end
  for _, number in ipairs(ask(path .. '/0018-a001')) do
    if made_it(path .. '/0018-a001/' .. number:match('%d+'), written) then
      return true
    end
  end
  return false
end

-- What changes when a series gets an instance.
local function state(series)
  return series.LastUpdate .. '/' .. #series.Instances
end

-- What of a series is to be sent: all of it when it is images, else each instance that is not ours.
local function of_series(series)
  if IMAGES[series.MainDicomTags.Modality] then
    return {series.ID}
  end
  local found = {}
  for _, instance in ipairs(ANSWERS[series.MainDicomTags.Modality] and series.Instances or {}) do
    if not is_ours(instance) then
      table.insert(found, instance)
    end
  end
  return found
end

-- Resources of a study that are to be sent, and the state of their series. Nothing of a study without PET.
local function news(study)
  local all = ask('/studies/' .. study .. '/series')
  local resources, states, has_pet = {}, {}, false
  for _, series in ipairs(all) do
    has_pet = has_pet or series.MainDicomTags.Modality == 'PT'
  end
  for _, series in ipairs(has_pet and all or {}) do
    local sent = ask('/series/' .. series.ID .. '/metadata?expand')[SENT]
    for _, resource in ipairs(sent ~= state(series) and of_series(series) or {}) do
      table.insert(resources, resource)
      states[series.ID] = state(series)
    end
  end
  return resources, states
end

local function say(study, what)
  print('theramap: study ' .. study .. ' ' .. what)
end

local function pause_s(failures)
  return failures < 2 and 0 or math.min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ^ (failures - 2))
end

local function failed(study, reason)
  local debt = owed[study]
  debt.job, debt.failures = nil, debt.failures + 1
  debt.due = os.time() + pause_s(debt.failures)
  debt.refused = tostring(reason):find('DIMSE status') ~= nil
  say(study, 'waits, failure ' .. debt.failures .. ': ' .. tostring(reason))
end

-- Orders the transfer of what is new of a study. After a refusal the next one goes on past what is refused, which
-- Orthanc then does not tell: the one after that is to prove that everything was taken.
local function send(study)
  local resources, states = news(study)
  if #resources == 0 then
    owed[study] = nil
    return
  end
  local debt = owed[study]
  local permissive = debt.refused or false
  local order = '{"Resources": %s, "Asynchronous": true, "Priority": %d, "Permissive": %s}' -- DumpJson has no integers
  order = order:format(DumpJson(resources, true), PRIORITY, tostring(permissive))
  local answer = RestApiPost('/modalities/' .. MODALITY .. '/store', order)
  if answer == nil then
    error('Orthanc knows no modality ' .. MODALITY, 0)
  end
  debt.job, debt.grew = ParseJson(answer).ID, false
  jobs[debt.job] = {study = study, states = states, permissive = permissive}
  say(study, 'is sent: ' .. #resources .. ' resources')
end

-- Sends what is due, if theramap is there. One study that cannot be read or sent leaves the others as they are.
local function settle()
  local due = {}
  for study, debt in pairs(owed) do
    if not debt.job and debt.due <= os.time() then
      table.insert(due, study)
    end
  end
  if #due == 0 then
    return
  end
  if RestApiPost('/modalities/' .. MODALITY .. '/echo', ('{"Timeout": %d}'):format(ECHO_S)) == nil then
    print('theramap: it does not answer; studies that wait: ' .. #due)
    return
  end
  for _, study in ipairs(due) do
    if RestApiGet('/studies/' .. study) == nil then
      owed[study] = nil -- deleted since
    else
      local done, reason = pcall(send, study)
      if not done then
        failed(study, reason)
      end
    end
  end
end

-- A study that is being sent is looked at again when that has ended.
local function owe(study)
  owed[study] = owed[study] or {failures = 0}
  owed[study].due, owed[study].grew = os.time(), true
end

-- Why a job failed; Orthanc may have forgotten it.
local function reason_of(jobId)
  local read, job = pcall(ask, '/jobs/' .. jobId)
  return read and job and job.ErrorDetails or 'Orthanc does not say why'
end

local function taken(job)
  for series, sent in pairs(job.states) do
    RestApiPut('/series/' .. series .. '/metadata/' .. SENT, sent)
  end
  local debt = owed[job.study]
  debt.job, debt.failures, debt.refused = nil, 0, false
  if debt.grew then
    settle()
  else
    owed[job.study] = nil
  end
end

-- Called when Orthanc has started. What was owed, or not yet stable, when it ended is in no memory but its own store:
-- the series of which no transfer has succeeded.
function Initialize()
  local first_day = os.date('%Y%m%d', os.time() - LOOK_BACK_DAYS * 86400)
  local query = {StudyDate = first_day .. '-', ModalitiesInStudy = 'PT'}
  for _, study in ipairs(ParseJson(RestApiPost('/tools/find', DumpJson({Level = 'Study', Query = query}, true)))) do
    owe(study)
  end
  settle()
end

function OnStableStudy(studyId, tags, metadata)
  owe(studyId)
  settle()
end

-- Called every LuaHeartBeatPeriod seconds; Orthanc has this from 1.11.1 on.
function OnHeartBeat()
  settle()
end

function OnJobSuccess(jobId)
  local job = jobs[jobId]
  jobs[jobId] = nil
  if not job then
    return
  end
  if job.permissive then
    failed(job.study, 'what is not refused was sent')
  else
    taken(job)
  end
end

function OnJobFailure(jobId)
  local job = jobs[jobId]
  jobs[jobId] = nil
  if job then
    failed(job.study, reason_of(jobId))
  end
end

@echo off
rem Inspects the folder of photographs that is dragged onto this file, or given to it;
rem what follows the folder goes to anomaly-vae inspect.
setlocal
set CODE=2
set "PROGRAM=%~dp0.venv\Scripts\python.exe"
if not exist "%PROGRAM%" goto missing
if "%~1"=="" goto bare
rem The dot: a quote after the last backslash of D:\ would not end the argument.
"%PROGRAM%" -I "%~dp0offline.py" inspect "%~1\." %2 %3 %4 %5 %6 %7 %8 %9
set CODE=%ERRORLEVEL%
goto end
:bare
"%PROGRAM%" -I "%~dp0offline.py" inspect
set CODE=%ERRORLEVEL%
goto end
:missing
>&2 echo error: nothing is installed here yet; unzip the whole file, and run its install.bat first
:end
pause
exit /b %CODE%
